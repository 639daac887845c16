import { Group, Stack, Text, Title } from '@mantine/core';
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { applications, repos, runPages } from '../api/queries';
import type { Application, Repo, Run } from '../api/client';
import { ofHealth, ofRun, ofSync } from '../state/states';
import { StateText } from '../state/StateText';
import { Age } from '../time/Age';
import { Empty } from '../ui/Empty';
import { Loading } from '../ui/Loading';
import { branch, short } from '../ui/names';
import { ProblemBox } from '../ui/ProblemBox';
import { TextLink } from '../ui/TextLink';
import { useTitle } from '../ui/title';
import { services as group } from './services/group';
import { VersionOf } from './services/Version';

/** Services shows each repository with its last run and where it is deployed. */
export function Services() {
  const list = useQuery(repos);
  const runs = useInfiniteQuery(runPages());
  const apps = useQuery(applications);
  useTitle('');
  const all = group(list.data?.items ?? [], runs.data?.pages.flatMap((p) => p.items) ?? [], apps.data?.items ?? []);
  return (
    <Stack className="page" gap="sm">
      <Title order={1} size="h3">Services</Title>
      {list.isError && <ProblemBox error={list.error} retry={() => { void list.refetch(); }} />}
      {runs.isError && <ProblemBox error={runs.error} retry={() => { void runs.refetch(); }} />}
      {apps.isError && <ProblemBox error={apps.error} retry={() => { void apps.refetch(); }} />}
      {list.isPending && <Loading />}
      {list.isSuccess && all.length === 0 && <Empty title="Nothing is hosted here yet." command={'penstock demo\npenstock repo create demo/shop'}>The demo brings a shop from its source to an answering address. Or begin with a repository of your own.</Empty>}
      {all.length > 0 && (
        <div className="rows">
          {all.map((s) => (
            <div className="row row-service" key={s.name}>
              <div style={{ minWidth: 0 }}>
                <div className="row-title">{s.name}</div>
                <div className="row-sub">{s.repo ? <RepoLine repo={s.repo} /> : 'not hosted here'}</div>
              </div>
              <RunCell run={s.run} repo={s.repo} />
              <AppsCell apps={s.apps} known={apps.isSuccess} />
            </div>
          ))}
        </div>
      )}
    </Stack>
  );
}

function RepoLine({ repo }: { repo: Repo }) {
  return <span className="mono" title={repo.cloneUrl}>{repo.defaultBranch}</span>;
}

function RunCell({ run, repo }: { run: Run | undefined; repo: Repo | undefined }) {
  if (!run) return <Text size="sm" c="dimmed">{repo ? 'no runs' : ''}</Text>;
  return (
    <div style={{ minWidth: 0 }}>
      <div className="row-title" style={{ fontWeight: 400 }}>
        <StateText state={ofRun(run)} />{' '}
        <TextLink to="/runs/$id" params={{ id: String(run.id) }} search={{}} preload={false}>{run.title}</TextLink>
      </div>
      <div className="row-sub">{run.workflow} #{run.number} · {branch(run.ref)} <span className="mono">{short(run.commit)}</span> · <Age at={run.createdAt} /> · <TextLink to="/runs" search={{ repo: run.repo }}>all</TextLink></div>
    </div>
  );
}

function AppsCell({ apps, known }: { apps: Application[]; known: boolean }) {
  if (apps.length === 0) return <Text size="sm" c="dimmed">{known ? 'not deployed' : ''}</Text>;
  return (
    <Stack gap={4} style={{ minWidth: 0 }}>
      {apps.map((a) => (
        <div key={`${a.namespace}/${a.name}`} style={{ minWidth: 0 }}>
          <Group gap={8} wrap="wrap">
            <StateText state={ofHealth(a.health)} says={a.health} />
            <TextLink to="/applications/$namespace/$name" params={{ namespace: a.namespace, name: a.name }} preload={false}>{a.name}</TextLink>
            {a.sync !== 'Synced' && <StateText state={ofSync(a.sync)} says={a.sync} />}
          </Group>
          <div className="row-sub"><VersionOf app={a} /></div>
        </div>
      ))}
    </Stack>
  );
}
