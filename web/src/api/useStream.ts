import { useQueryClient, type QueryClient } from '@tanstack/react-query';
import { useMatches } from '@tanstack/react-router';
import { useEffect, useState } from 'react';
import { apply, type Message } from './apply';

const events = ['run', 'application', 'gone', 'reset'] as const;

/** follow keeps one stream open and tells when it was lost, 0 when it is there. */
function follow(topics: string, queries: QueryClient, onLost: (since: number) => void): () => void {
  let source: EventSource | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let poll: ReturnType<typeof setInterval> | undefined;
  let wait = 1000;
  const found = () => {
    clearInterval(poll);
    poll = undefined;
    wait = 1000;
    onLost(0);
  };
  const lost = () => {
    if (poll !== undefined) return;
    onLost(Date.now());
    // What nobody tells has to be asked for.
    poll = setInterval(() => { void queries.invalidateQueries(); }, 5000);
  };
  const open = () => {
    source = new EventSource(`/api/v1/stream?${topics}`);
    source.addEventListener('synced', () => {
      // Between reading a page and opening the stream something may have happened.
      if (poll !== undefined) void queries.invalidateQueries();
      found();
    });
    for (const event of events) {
      source.addEventListener(event, (e: MessageEvent<string>) => {
        apply(queries, { event, data: JSON.parse(e.data) as unknown } as Message);
      });
    }
    source.onerror = () => {
      lost();
      if (source?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      void queries.invalidateQueries({ queryKey: ['me'] });
      clearTimeout(retry);
      retry = setTimeout(open, wait);
      wait = Math.min(2 * wait, 30_000);
    };
  };
  open();
  return () => {
    source?.close();
    clearTimeout(retry);
    clearInterval(poll);
  };
}

/** topicsOf is what the pages that are open show. */
function topicsOf(params: { id?: string; namespace?: string; name?: string }): string {
  const q = new URLSearchParams([['topic', 'runs'], ['topic', 'applications']]);
  if (params.id !== undefined && /^\d+$/.test(params.id)) q.append('topic', `run:${params.id}`);
  if (params.namespace !== undefined && params.name !== undefined) q.append('topic', `application:${params.namespace}/${params.name}`);
  return q.toString();
}

/**
 * useStream keeps what pages show current, over one stream for all of it. It
 * gives the time since when there is none, 0 when all is well.
 */
export function useStream(): number {
  const queries = useQueryClient();
  const [lost, setLost] = useState(0);
  const matches = useMatches();
  const topics = topicsOf(matches.at(-1)?.params ?? {});
  useEffect(() => follow(topics, queries, setLost), [topics, queries]);
  return lost;
}
