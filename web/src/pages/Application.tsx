import { Alert, Anchor, Button, Group, Paper, SimpleGrid, Stack, Text, Title } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { api, type Application } from '../api/client';
import { application } from '../api/queries';
import { ofHealth, ofOperation, ofSync } from '../state/states';
import { StateText } from '../state/StateText';
import { Age, Took } from '../time/Age';
import { Command } from '../ui/Copy';
import { Loading } from '../ui/Loading';
import { short } from '../ui/names';
import { ProblemBox } from '../ui/ProblemBox';
import { useTitle } from '../ui/title';
import { Resources } from './application/Resources';

const route = getRouteApi('/shell/applications/$namespace/$name');

/** ApplicationPage shows one Application: how it stands, what it consists of, what was synced. */
export function ApplicationPage() {
  const { namespace, name } = route.useParams();
  const app = useQuery(application(namespace, name));
  useTitle(app.data ? `${app.data.health}: ${name}` : name);
  if (app.isPending) return <Loading />;
  if (!app.data) return <ProblemBox error={app.error} retry={() => { void app.refetch(); }} />;
  return (
    <Stack className="page" gap="md">
      <Head app={app.data} />
      {app.isError && <ProblemBox error={app.error} />}
      {app.data.conditions?.map((c) => (
        <Alert key={c.type + c.message} color={c.type.endsWith('Error') ? 'red' : 'orange'} variant="light" title={`▲ ${c.type}`}>
          <Text size="sm" style={{ overflowWrap: 'anywhere' }}>{c.message}</Text>
        </Alert>
      ))}
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <Source app={app.data} />
        <LastSync app={app.data} />
      </SimpleGrid>
      <Resources app={app.data} />
      <History app={app.data} />
    </Stack>
  );
}

const running = (app: Application) => app.operation?.phase === 'Running' || app.operation?.phase === 'Terminating';

function Head({ app }: { app: Application }) {
  const queries = useQueryClient();
  const path = { namespace: app.namespace, name: app.name };
  const settled = () => queries.invalidateQueries({ queryKey: ['application', app.namespace, app.name] });
  const sync = useMutation({ mutationFn: () => api.POST('/api/v1/applications/{namespace}/{name}/sync', { params: { path }, body: {} }), onSettled: settled });
  const refresh = useMutation({ mutationFn: () => api.POST('/api/v1/applications/{namespace}/{name}/refresh', { params: { path } }), onSettled: settled });
  return (
    <>
      <Group justify="space-between" align="flex-start" wrap="wrap" gap="xs">
        <div style={{ minWidth: 0 }}>
          <Title order={1} size="h3">{app.name}</Title>
          <Group gap="md">
            <StateText state={ofHealth(app.health)} says={app.health} />
            <StateText state={ofSync(app.sync)} says={app.sync} />
            {app.urls?.map((u) => <Anchor key={u} href={u} target="_blank" rel="noreferrer" size="sm">{u}</Anchor>)}
          </Group>
          {app.healthMessage && <Text size="sm" c="dimmed" style={{ overflowWrap: 'anywhere' }}>{app.healthMessage}</Text>}
        </div>
        <Group gap="xs" wrap="wrap">
          <Command>{`penstock app get ${app.name}`}</Command>
          <Button size="compact-sm" variant="default" loading={refresh.isPending} onClick={() => { refresh.mutate(); }}>Refresh</Button>
          <Button size="compact-sm" loading={sync.isPending || running(app)} onClick={() => { sync.mutate(); }}>Sync</Button>
        </Group>
      </Group>
      {sync.isError && <ProblemBox error={sync.error} />}
      {refresh.isError && <ProblemBox error={refresh.error} />}
    </>
  );
}

function Source({ app }: { app: Application }) {
  return (
    <Paper withBorder p="md">
      <dl className="facts">
        <dt>Repository</dt><dd>{app.repo}</dd>
        {app.path && <><dt>Path</dt><dd className="mono">{app.path}</dd></>}
        <dt>Follows</dt><dd className="mono">{app.target || 'HEAD'}</dd>
        <dt>Revision</dt><dd className="mono" title={app.revision}>{short(app.revision ?? '') || 'not compared yet'}</dd>
        <dt>Compared</dt><dd>{app.comparedAt ? <Age at={app.comparedAt} /> : 'not yet'}</dd>
        <dt>Destination</dt><dd>{app.destination}</dd>
        <dt>Syncs</dt><dd>{app.automated ? 'by itself' : 'when asked'}</dd>
        {app.images?.map((i, n) => <Image key={i} image={i} first={n === 0} />)}
      </dl>
    </Paper>
  );
}

function Image({ image, first }: { image: string; first: boolean }) {
  return <><dt>{first ? 'Images' : ''}</dt><dd className="mono">{image}</dd></>;
}

function LastSync({ app }: { app: Application }) {
  const op = app.operation;
  return (
    <Paper withBorder p="md">
      {op ? (
        <dl className="facts">
          <dt>Last sync</dt><dd><StateText state={ofOperation(op.phase)} says={op.phase} /></dd>
          {op.revision && <><dt>Revision</dt><dd className="mono" title={op.revision}>{short(op.revision)}</dd></>}
          {op.by && <><dt>By</dt><dd>{op.by}</dd></>}
          <dt>Began</dt><dd><Age at={op.startedAt} /></dd>
          <dt>Took</dt><dd><Took from={op.startedAt} to={op.finishedAt} /></dd>
          {op.message && <><dt>Says</dt><dd>{op.message}</dd></>}
        </dl>
      ) : <Text size="sm" c="dimmed">It was never synced.</Text>}
    </Paper>
  );
}

function History({ app }: { app: Application }) {
  const past = [...(app.history ?? [])].reverse();
  if (past.length === 0) return null;
  return (
    <section>
      <Title order={2} size="h4" mb="xs">History</Title>
      <div className="rows">
        {past.map((h) => (
          <div className="row" style={{ gridTemplateColumns: '60px minmax(0, 1fr) auto' }} key={h.id}>
            <span>#{h.id}</span><span className="mono" title={h.revision}>{short(h.revision)}</span><span className="row-sub"><Age at={h.deployedAt} /></span>
          </div>
        ))}
      </div>
    </section>
  );
}
