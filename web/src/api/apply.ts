import type { InfiniteData, QueryClient } from '@tanstack/react-query';
import type { components } from './schema';

type Run = components['schemas']['Run'];
type Application = components['schemas']['Application'];
interface Page<T> { items: T[]; next?: string }

/** Message is what the stream tells. */
export type Message =
  | { event: 'run'; data: { topic: string; run: Run } }
  | { event: 'application'; data: { topic: string; namespace: string; name: string; application?: Application } }
  | { event: 'gone'; data: { topic: string; namespace: string; name: string } }
  | { event: 'reset'; data: { topic: string } };

/**
 * apply puts a message where pages read. A run that a list does not have yet, or
 * that may not belong into a filtered list any more, makes the list be read
 * again.
 */
export function apply(queries: QueryClient, m: Message): void {
  switch (m.event) {
    case 'run': {
      const { run, topic } = m.data;
      if (topic.startsWith('run:')) {
        queries.setQueryData(['run', run.id], run);
        return;
      }
      for (const [key, list] of queries.getQueriesData<InfiniteData<Page<Run>>>({ queryKey: ['runs'] })) {
        const known = list?.pages.some((p) => p.items.some((r) => r.id === run.id)) ?? false;
        if (!known || key[2] !== '') {
          void queries.invalidateQueries({ queryKey: key, exact: true });
          continue;
        }
        queries.setQueryData<InfiniteData<Page<Run>>>(key, (old) => old && {
          ...old, pages: old.pages.map((p) => ({ ...p, items: p.items.map((r) => (r.id === run.id ? run : r)) })),
        });
      }
      return;
    }
    case 'application': {
      const { application, namespace, name, topic } = m.data;
      if (!application) return;
      if (topic.startsWith('application:')) {
        queries.setQueryData(['application', namespace, name], application);
        return;
      }
      const is = (a: Application) => a.namespace === namespace && a.name === name;
      const list = queries.getQueryData<Page<Application>>(['applications']);
      if (!list?.items.some(is)) void queries.invalidateQueries({ queryKey: ['applications'] });
      else queries.setQueryData<Page<Application>>(['applications'], { ...list, items: list.items.map((a) => (is(a) ? application : a)) });
      return;
    }
    case 'gone':
      void queries.invalidateQueries({ queryKey: ['applications'] });
      void queries.invalidateQueries({ queryKey: ['application', m.data.namespace, m.data.name] });
      return;
    case 'reset':
      void queries.invalidateQueries({ queryKey: [m.data.topic.split(':')[0]] });
  }
}
