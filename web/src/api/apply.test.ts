import { QueryClient, type InfiniteData } from '@tanstack/react-query';
import { expect, test } from 'vitest';
import { apply } from './apply';

type List = InfiniteData<{ items: { id: number; status: string }[] }>;
const run = (id: number, status: string) => ({ id, status }) as never;
const list = (...ids: number[]) => ({ pages: [{ items: ids.map((id) => ({ id, status: 'queued' })) }], pageParams: [''] });
const stale = (q: QueryClient, key: unknown[]) => q.getQueryState(key)?.isInvalidated;

test('a run changes where it is shown', () => {
  const q = new QueryClient();
  q.setQueryData(['runs', '', ''], list(2, 1));
  q.setQueryData(['runs', '', 'failure'], list(1));
  apply(q, { event: 'run', data: { topic: 'runs', run: run(1, 'completed') } });
  expect(q.getQueryData<List>(['runs', '', ''])?.pages[0]?.items.map((r) => r.status)).toEqual(['queued', 'completed']);
  expect(stale(q, ['runs', '', ''])).toBe(false);
  expect(stale(q, ['runs', '', 'failure'])).toBe(true); // it may not belong there any more
});

test('a run that a list does not have makes it be read again', () => {
  const q = new QueryClient();
  q.setQueryData(['runs', '', ''], list(1));
  apply(q, { event: 'run', data: { topic: 'runs', run: run(2, 'queued') } });
  expect(stale(q, ['runs', '', ''])).toBe(true);
});

test('the run of a page is replaced, with its jobs', () => {
  const q = new QueryClient();
  apply(q, { event: 'run', data: { topic: 'run:7', run: run(7, 'in_progress') } });
  expect(q.getQueryData(['run', 7])).toEqual({ id: 7, status: 'in_progress' });
});

test('applications', () => {
  const q = new QueryClient();
  const app = (name: string, sync: string) => ({ namespace: 'argocd', name, sync }) as never;
  q.setQueryData(['applications'], { items: [app('a', 'Synced'), app('b', 'Synced')] });
  apply(q, { event: 'application', data: { topic: 'applications', namespace: 'argocd', name: 'b', application: app('b', 'OutOfSync') } });
  expect(q.getQueryData(['applications'])).toEqual({ items: [app('a', 'Synced'), app('b', 'OutOfSync')] });
  apply(q, { event: 'gone', data: { topic: 'applications', namespace: 'argocd', name: 'a' } });
  expect(stale(q, ['applications'])).toBe(true);
});
