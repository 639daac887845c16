import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query';
import { api, must } from './client';
import { setCSRF } from './session';

// What pages read, each under its key: the stream (useStream) puts what has
// changed under the same keys.

/** me is who is logged in. */
export const me = queryOptions({
  queryKey: ['me'],
  queryFn: async () => {
    const user = await must(api.GET('/api/v1/me'));
    setCSRF(user.csrf);
    return user;
  },
  staleTime: 60_000,
});

/** runPages are the runs, newest first, perhaps of a repository or in a state. */
export const runPages = (repo?: string, state?: string) =>
  infiniteQueryOptions({
    queryKey: ['runs', repo ?? '', state ?? ''],
    queryFn: ({ pageParam }) => {
      const status = state === 'in_progress' || state === 'queued' ? state : undefined;
      return must(api.GET('/api/v1/runs', {
        params: { query: { repo, status, conclusion: status ? undefined : state, cursor: pageParam || undefined, limit: 50 } },
      }));
    },
    initialPageParam: '',
    getNextPageParam: (last) => last.next,
  });

/** runQuery is one run with its jobs and steps. */
export const runQuery = (id: number) =>
  queryOptions({
    queryKey: ['run', id],
    queryFn: () => must(api.GET('/api/v1/runs/{id}', { params: { path: { id } } })),
  });

/** repos are the hosted repositories. */
export const repos = queryOptions({
  queryKey: ['repos'],
  queryFn: () => must(api.GET('/api/v1/repos', { params: { query: { limit: 500 } } })),
});

/** applications are those of the cluster. */
export const applications = queryOptions({
  queryKey: ['applications'],
  queryFn: () => must(api.GET('/api/v1/applications', { params: { query: { limit: 500, sort: 'health' } } })),
});

/** application is one of them with its objects and history. */
export const application = (namespace: string, name: string) =>
  queryOptions({
    queryKey: ['application', namespace, name],
    queryFn: () => must(api.GET('/api/v1/applications/{namespace}/{name}', { params: { path: { namespace, name } } })),
  });
