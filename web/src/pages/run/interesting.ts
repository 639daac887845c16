import { ofRun } from '../../state/states';
import type { Run } from '../../api/client';

export interface Chosen { job: string; step: number }

/** What the runner does around the steps of the workflow is only of interest when it fails. */
const around = /^(Set up job|Complete job|Post )/;

/**
 * interesting is the step that people open a run for: the first that failed,
 * else the one that runs, else the last of the workflow's that began.
 */
export function interesting(run: Pick<Run, 'jobs'>): Chosen | undefined {
  const all = (run.jobs ?? []).flatMap((j) =>
    (j.steps ?? []).map((s) => ({ job: j.key, step: s.number, name: s.name, state: ofRun(s), at: s.startedAt ?? '' })));
  const began = all.filter((s) => s.at !== '' && s.state !== 'skipped');
  const own = began.filter((s) => !around.test(s.name));
  const best =
    all.find((s) => s.state === 'failed') ??
    own.find((s) => s.state === 'running') ??
    (own.length > 0 ? own : began).sort((a, b) => a.at.localeCompare(b.at)).at(-1);
  return best && { job: best.job, step: best.step };
}
