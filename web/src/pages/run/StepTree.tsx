import { useHotkeys } from '@mantine/hooks';
import { Link, useNavigate } from '@tanstack/react-router';
import type { Run } from '../../api/client';
import { ofRun } from '../../state/states';
import { StateText } from '../../state/StateText';
import { Took } from '../../time/Age';
import type { Chosen } from './interesting';

/** StepTree lists jobs with their steps, how they stand and how long they took. */
export function StepTree({ run, chosen }: { run: Run; chosen: Chosen | undefined }) {
  const navigate = useNavigate();
  const jobs = run.jobs ?? [];
  const began = jobs.flatMap((j) => (j.steps ?? []).filter((s) => s.startedAt).map((s) => ({ job: j.key, step: s.number })));
  const go = (by: number) => {
    const at = began.findIndex((s) => s.job === chosen?.job && s.step === chosen.step);
    const next = began[at + by];
    if (next) void navigate({ to: '/runs/$id', params: { id: String(run.id) }, search: next, replace: true });
  };
  useHotkeys([['j', () => { go(1); }], ['k', () => { go(-1); }]]);
  return (
    <nav className="tree" aria-label="Jobs and steps">
      <ol>
        {jobs.map((j) => (
          <li key={j.key}>
            <div className="tree-job">
              <StateText state={ofRun(j)} bare />
              <span className="tree-name" title={j.name}>{j.name}</span>
              <span className="tree-took"><Took from={j.startedAt} to={j.completedAt} /></span>
            </div>
            {j.message && <div className="tree-why">{j.message}</div>}
            {j.needs && j.status === 'queued' && !j.message && <div className="tree-why">needs {j.needs.join(', ')}</div>}
            <ol>
              {(j.steps ?? []).map((s) => (
                <li key={s.number}>
                  <Link
                    to="/runs/$id" params={{ id: String(run.id) }} search={{ job: j.key, step: s.number }} replace preload={false}
                    aria-current={chosen?.job === j.key && chosen.step === s.number}
                  >
                    <StateText state={ofRun(s)} bare />
                    <span className="tree-name" title={s.name}>{s.name}</span>
                    <span className="tree-took">{ofRun(s) !== 'skipped' && <Took from={s.startedAt} to={s.completedAt} />}</span>
                  </Link>
                </li>
              ))}
            </ol>
          </li>
        ))}
      </ol>
    </nav>
  );
}
