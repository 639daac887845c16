import { Text, Title } from '@mantine/core';
import type { Application } from '../../api/client';
import { ofHealth, ofSync } from '../../state/states';
import { StateText } from '../../state/StateText';
import { inOrder } from './order';

/** Resources lists the objects of an Application, what needs somebody first. */
export function Resources({ app }: { app: Application }) {
  const all = inOrder(app.resources ?? []);
  return (
    <section>
      <Title order={2} size="h4" mb="xs">Objects</Title>
      {all.length === 0 && <Text size="sm" c="dimmed">It consists of nothing yet.</Text>}
      {all.length > 0 && (
        <div className="rows" role="list">
          {all.map((r) => (
            <div className="row resource" role="listitem" key={`${r.group ?? ''}/${r.kind}/${r.namespace ?? ''}/${r.name}`}>
              <div style={{ minWidth: 0 }}>
                <div className="row-title"><span style={{ fontWeight: 400 }}>{r.kind}</span> {r.name}</div>
                <div className="row-sub">{[r.group, r.namespace].filter(Boolean).join(' · ')}{r.message && <span> {r.message}</span>}</div>
              </div>
              <div>{r.health && <StateText state={ofHealth(r.health)} says={r.health} />}</div>
              <div>{r.sync && <StateText state={ofSync(r.sync)} says={r.prune ? `${r.sync}, to be pruned` : r.sync} />}</div>
            </div>
          ))}
        </div>
      )}
    </section>
  );
}
