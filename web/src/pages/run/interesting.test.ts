import { expect, test } from 'vitest';
import type { Run } from '../../api/client';
import { interesting } from './interesting';

type Steps = [number, string, string?, string?, string?][];
const job = (key: string, steps: Steps) => ({
  key, name: key, status: 'in_progress' as const,
  steps: steps.map(([number, status, conclusion, startedAt, name = 'own']) => ({ number, name, status, conclusion, startedAt })),
});
const run = (...jobs: ReturnType<typeof job>[]) => ({ jobs }) as Pick<Run, 'jobs'>;

test.each<[string, Pick<Run, 'jobs'>, unknown]>([
  ['nothing', run(), undefined],
  ['nothing began', run(job('a', [[1, 'queued']])), undefined],
  ['the one that runs', run(job('a', [[1, 'completed', 'success', '1'], [2, 'in_progress', '', '2']])), { job: 'a', step: 2 }],
  ['what failed before what runs', run(job('a', [[1, 'in_progress', '', '1']]), job('b', [[3, 'completed', 'failure', '1']])), { job: 'b', step: 3 }],
  ['the last', run(job('a', [[1, 'completed', 'success', '3']]), job('b', [[1, 'completed', 'success', '2'], [2, 'completed', 'skipped', '4']])), { job: 'a', step: 1 }],
  ['not what the runner does after it', run(job('a', [[1, 'completed', 'success', '1', 'Set up job'], [2, 'completed', 'success', '2'], [3, 'in_progress', '', '3', 'Complete job']])), { job: 'a', step: 2 }],
  ['unless there is nothing else', run(job('a', [[1, 'in_progress', '', '1', 'Set up job']])), { job: 'a', step: 1 }],
])('%s', (_, r, want) => {
  expect(interesting(r)).toEqual(want);
});
