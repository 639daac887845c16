import { Button, Group, SegmentedControl, Stack, Title } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import type { Run } from '../api/client';
import { runPages } from '../api/queries';
import { ofRun } from '../state/states';
import { StateText } from '../state/StateText';
import { Age, Took } from '../time/Age';
import { Empty } from '../ui/Empty';
import { Loading } from '../ui/Loading';
import { ProblemBox } from '../ui/ProblemBox';
import { branch, short } from '../ui/names';
import { useTitle } from '../ui/title';

const route = getRouteApi('/shell/runs');

/** RunRow is one run in a list. */
export function RunRow({ run }: { run: Run }) {
  return (
    <Link className="row row-run" to="/runs/$id" params={{ id: String(run.id) }} search={{}} preload={false}>
      <StateText state={ofRun(run)} />
      <div style={{ minWidth: 0 }}>
        <div className="row-title">{run.title}</div>
        <div className="row-sub">{run.repo} · {run.workflow} #{run.number} · {branch(run.ref)} <span className="mono">{short(run.commit)}</span> · {run.actor}</div>
      </div>
      <div className="row-sub row-end">
        <div><Age at={run.createdAt} /></div>
        <div><Took from={run.startedAt} to={run.completedAt} /></div>
      </div>
    </Link>
  );
}

const states = [
  { value: '', label: 'All' },
  { value: 'in_progress', label: '● Running' },
  { value: 'failure', label: '✗ Failed' },
  { value: 'success', label: '✓ Passed' },
];

/** Runs lists CI runs, newest first. */
export function Runs() {
  const { repo, state } = route.useSearch();
  const navigate = route.useNavigate();
  const runs = useInfiniteQuery(runPages(repo, state));
  useTitle('Runs');
  const all = runs.data?.pages.flatMap((p) => p.items) ?? [];
  return (
    <Stack className="page" gap="sm">
      <Group justify="space-between">
        <Title order={1} size="h3">Runs{repo ? ` of ${repo}` : ''}</Title>
        <Group gap="xs">
          {repo && <Button size="compact-sm" variant="default" onClick={() => { void navigate({ search: (s) => ({ ...s, repo: undefined }) }); }}>All repositories</Button>}
          <SegmentedControl
            size="xs" data={states} value={state ?? ''} aria-label="State"
            onChange={(v) => { void navigate({ search: (s) => ({ ...s, state: v || undefined }), replace: true }); }}
          />
        </Group>
      </Group>
      {runs.isError && <ProblemBox error={runs.error} retry={() => { void runs.refetch(); }} />}
      {runs.isPending && <Loading />}
      {runs.isSuccess && all.length === 0 && (
        state
          ? <Empty title="No run is in this state." />
          : <Empty title="There are no runs yet." command={'penstock repo create demo/shop\ngit push http://penstock.localhost:7080/git/demo/shop.git main'}>A push with a workflow below .github/workflows makes one.</Empty>
      )}
      {all.length > 0 && <div className="rows">{all.map((r) => <RunRow key={r.id} run={r} />)}</div>}
      {runs.hasNextPage && <Button variant="default" loading={runs.isFetchingNextPage} onClick={() => { void runs.fetchNextPage(); }}>Older runs</Button>}
    </Stack>
  );
}
