import { Stack, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { applications } from '../api/queries';
import { ofHealth, ofSync } from '../state/states';
import { StateText } from '../state/StateText';
import { Age } from '../time/Age';
import { Empty } from '../ui/Empty';
import { Loading } from '../ui/Loading';
import { short } from '../ui/names';
import { ProblemBox } from '../ui/ProblemBox';
import { useTitle } from '../ui/title';

/** Applications lists what is deployed, what needs somebody first. */
export function Applications() {
  const list = useQuery(applications);
  useTitle('Applications');
  const all = list.data?.items ?? [];
  return (
    <Stack className="page" gap="sm">
      <Title order={1} size="h3">Applications</Title>
      {list.isError && <ProblemBox error={list.error} retry={() => { void list.refetch(); }} />}
      {list.isPending && <Loading />}
      {list.isSuccess && all.length === 0 && <Empty title="There are no applications yet." command="kubectl apply -f application.yaml">An Argo CD Application says which directory of which repository is deployed.</Empty>}
      {all.length > 0 && (
        <div className="rows">
          {all.map((a) => (
            <Link className="row row-app" key={`${a.namespace}/${a.name}`} to="/applications/$namespace/$name" params={{ namespace: a.namespace, name: a.name }} preload={false}>
              <div style={{ minWidth: 0 }}>
                <div className="row-title">{a.name}</div>
                <div className="row-sub">{a.repo} {a.path} · to {a.destination}</div>
              </div>
              <StateText state={ofHealth(a.health)} says={a.health} />
              <StateText state={ofSync(a.sync)} says={a.sync} />
              <div className="row-sub row-end"><span className="mono">{short(a.revision ?? '')}</span> <Age at={a.operation?.finishedAt ?? a.operation?.startedAt} /></div>
            </Link>
          ))}
        </div>
      )}
    </Stack>
  );
}
