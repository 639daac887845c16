// The one vocabulary of states: a shape and a word, the same as on the command
// line (internal/face/mark). Colour only repeats what both say.

export type State =
  | 'queued' | 'waiting' | 'running' | 'passed' | 'failed' | 'cancelled'
  | 'skipped' | 'paused' | 'degraded' | 'rolled back' | 'unknown';

export const glyphs: Record<State, string> = {
  queued: '○', waiting: '◔', running: '●', passed: '✓', failed: '✗', cancelled: '⊘',
  skipped: '»', paused: '‖', degraded: '▲', 'rolled back': '↺', unknown: '?',
};

export const colors: Record<State, string> = {
  queued: 'gray', waiting: 'orange', running: 'blue', passed: 'teal', failed: 'red', cancelled: 'gray',
  skipped: 'gray', paused: 'orange', degraded: 'orange', 'rolled back': 'grape', unknown: 'gray',
};

interface Timed { status: string; conclusion?: string | undefined }

/** ofRun gives the word for a run, job or step in GitHub's terms. */
export function ofRun({ status, conclusion }: Timed): State {
  switch (status) {
    case 'queued': case 'pending': case 'requested': return 'queued';
    case 'waiting': return 'waiting';
    case 'in_progress': return 'running';
    case 'completed':
      switch (conclusion) {
        case 'success': return 'passed';
        case 'failure': case 'timed_out': case 'startup_failure': return 'failed';
        case 'cancelled': case 'skipped': return conclusion;
      }
  }
  return 'unknown';
}

/** ofHealth gives the word for Argo CD's health. */
export function ofHealth(health: string | undefined): State {
  switch (health) {
    case 'Healthy': return 'passed';
    case 'Progressing': return 'running';
    case 'Degraded': return 'degraded';
    case 'Suspended': return 'paused';
    case 'Missing': return 'waiting';
    default: return 'unknown';
  }
}

/** ofSync gives the word for Argo CD's sync status. */
export function ofSync(sync: string | undefined): State {
  switch (sync) {
    case 'Synced': return 'passed';
    case 'OutOfSync': return 'waiting';
    default: return 'unknown';
  }
}

/** ofOperation gives the word for the phase of an operation. */
export function ofOperation(phase: string | undefined): State {
  switch (phase) {
    case 'Running': case 'Terminating': return 'running';
    case 'Succeeded': return 'passed';
    case 'Failed': case 'Error': return 'failed';
    default: return 'unknown';
  }
}

/** isOver says whether nothing more will happen. */
export const isOver = (t: Timed): boolean => t.status === 'completed';
