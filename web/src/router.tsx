import type { QueryClient } from '@tanstack/react-query';
import { createRootRouteWithContext, createRoute, createRouter, lazyRouteComponent, Outlet, redirect } from '@tanstack/react-router';
import { Problem } from './api/problem';
import { me } from './api/queries';
import { Shell } from './Shell';
import { ProblemBox } from './ui/ProblemBox';
import { TextLink } from './ui/TextLink';

// Every filter, step and line is in the address: what one sees can be sent to
// somebody else. Search parameters that make no sense are left out.
const text = (v: unknown): string | undefined => (typeof v === 'string' && v !== '' ? v : undefined);
const count = (v: unknown): number | undefined => (typeof v === 'number' && Number.isInteger(v) && v > 0 ? v : undefined);

const root = createRootRouteWithContext<{ queries: QueryClient }>()({ component: Outlet });

const login = createRoute({
  getParentRoute: () => root,
  path: '/login',
  validateSearch: (s): { to?: string } => ({ to: text(s.to) }),
  component: lazyRouteComponent(() => import('./pages/Login'), 'Login'),
});

const shell = createRoute({
  getParentRoute: () => root,
  id: 'shell',
  component: Shell,
  errorComponent: ({ error, reset }) => <ProblemBox error={error} retry={reset} />,
  beforeLoad: async ({ context, location }) => {
    try {
      await context.queries.query({ ...me, staleTime: 'static' });
    } catch (err) {
      if (err instanceof Problem && err.status === 401) throw redirect({ to: '/login', search: { to: location.href } });
      throw err;
    }
  },
});

const services = createRoute({ getParentRoute: () => shell, path: '/', component: lazyRouteComponent(() => import('./pages/Services'), 'Services') });

const runs = createRoute({
  getParentRoute: () => shell,
  path: '/runs',
  validateSearch: (s): { repo?: string; state?: string } => ({ repo: text(s.repo), state: text(s.state) }),
  component: lazyRouteComponent(() => import('./pages/Runs'), 'Runs'),
});

const run = createRoute({
  getParentRoute: () => shell,
  path: '/runs/$id',
  validateSearch: (s): { job?: string; step?: number; line?: number; q?: string } => ({ job: text(s.job), step: count(s.step), line: count(s.line), q: text(s.q) }),
  component: lazyRouteComponent(() => import('./pages/Run'), 'RunPage'),
});

const apps = createRoute({ getParentRoute: () => shell, path: '/applications', component: lazyRouteComponent(() => import('./pages/Applications'), 'Applications') });

const app = createRoute({
  getParentRoute: () => shell,
  path: '/applications/$namespace/$name',
  component: lazyRouteComponent(() => import('./pages/Application'), 'ApplicationPage'),
});

const tree = root.addChildren([login, shell.addChildren([services, runs, run, apps, app])]);

export function makeRouter(queries: QueryClient) {
  return createRouter({
    routeTree: tree,
    context: { queries },
    defaultPreload: 'intent',
    scrollRestoration: true,
    defaultNotFoundComponent: () => (
      <main className="login">
        <div className="login-box">
          <ProblemBox error={new Problem(404, 'There is no such page', 'The address may be of another version.')} />
          <p><TextLink to="/">To the services</TextLink></p>
        </div>
      </main>
    ),
  });
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
