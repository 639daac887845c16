import { Button, Group, Stack, Text, Title } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { api, type Run } from '../api/client';
import { runQuery } from '../api/queries';
import { LogView } from '../log/LogView';
import { isOver, ofRun } from '../state/states';
import { StateText } from '../state/StateText';
import { Age, Took } from '../time/Age';
import { Command } from '../ui/Copy';
import { Loading } from '../ui/Loading';
import { branch, short } from '../ui/names';
import { ProblemBox } from '../ui/ProblemBox';
import { TextLink } from '../ui/TextLink';
import { useTitle } from '../ui/title';
import { Annotations } from './run/Annotations';
import { interesting } from './run/interesting';
import { StepTree } from './run/StepTree';

const route = getRouteApi('/shell/runs/$id');

/** RunPage shows one run: its jobs and steps, and the log of one of them. */
export function RunPage() {
  const { id } = route.useParams();
  const number = Number(id);
  const run = useQuery(runQuery(number));
  useTitle(run.data ? `${ofRun(run.data)}: ${run.data.title}` : `Run ${id}`);
  if (run.isPending) return <Loading />;
  if (!run.data) return <ProblemBox error={run.error} retry={() => { void run.refetch(); }} />;
  return (
    <Stack gap="sm" className="page-wide">
      <Head run={run.data} />
      {run.isError && <ProblemBox error={run.error} />}
      <Body run={run.data} />
    </Stack>
  );
}

function Head({ run }: { run: Run }) {
  const queries = useQueryClient();
  const cancel = useMutation({
    mutationFn: () => api.POST('/api/v1/runs/{id}/cancel', { params: { path: { id: run.id } } }),
    onSettled: () => queries.invalidateQueries({ queryKey: ['run', run.id] }),
  });
  return (
    <>
      <Group justify="space-between" align="flex-start" wrap="wrap" gap="xs">
        <div style={{ minWidth: 0, flex: '1 1 300px' }}>
          <Title order={1} size="h3" style={{ overflowWrap: 'anywhere' }}>{run.title}</Title>
          <Text size="sm" c="dimmed">
            <StateText state={ofRun(run)} />{' · '}
            <TextLink to="/runs" search={{ repo: run.repo }}>{run.repo}</TextLink>
            {' · '}{run.workflow} #{run.number} · {run.event} of {branch(run.ref)} <span className="mono">{short(run.commit)}</span> by {run.actor}
            {' · '}<Age at={run.createdAt} />{run.startedAt && <> · <Took from={run.startedAt} to={run.completedAt} /></>}
          </Text>
        </div>
        <Group gap="xs" wrap="wrap">
          <Command>{`penstock ci view ${run.id}`}</Command>
          {!isOver(run) && (
            <Button size="compact-sm" variant="default" color="red" loading={cancel.isPending} disabled={cancel.isSuccess} onClick={() => { cancel.mutate(); }}>
              {cancel.isSuccess ? 'Cancelling …' : 'Cancel'}
            </Button>
          )}
        </Group>
      </Group>
      {cancel.isError && <ProblemBox error={cancel.error} />}
      {run.message && <Text size="sm" c={ofRun(run) === 'failed' ? 'red' : 'dimmed'} style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>{run.message}</Text>}
    </>
  );
}

function Body({ run }: { run: Run }) {
  const { job, step, line, q } = route.useSearch();
  const navigate = route.useNavigate();
  const chosen = job !== undefined && step !== undefined ? { job, step } : interesting(run);
  const theJob = run.jobs?.find((j) => j.key === chosen?.job);
  const theStep = theJob?.steps?.find((s) => s.number === chosen?.step);
  return (
    <div className="run">
      <StepTree run={run} chosen={chosen} />
      {chosen && theJob ? (
        <LogView
          key={`${chosen.job} ${chosen.step}`}
          run={run.id} job={chosen.job} step={chosen.step} line={line ?? 0} words={q ?? ''}
          running={theStep ? !isOver(theStep) : !isOver(theJob)} failed={theStep !== undefined && ofRun(theStep) === 'failed'}
          onLine={(n) => { void navigate({ search: { ...chosen, q, line: n === line ? undefined : n }, replace: true }); }}
          onWords={(w) => { void navigate({ search: { ...chosen, line, q: w || undefined }, replace: true }); }}
        />
      ) : (
        <Text c="dimmed" p="md" className="log-none">{isOver(run) ? 'No step ran, so there is no log.' : 'Waiting for a job to start. The log shows here as it is written.'}</Text>
      )}
      <Annotations run={run} />
    </div>
  );
}
