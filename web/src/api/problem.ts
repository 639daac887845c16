/** A Problem is why a request failed, as RFC 9457 tells it. */
export class Problem extends Error {
  readonly status: number; // 0: the server was not reached
  readonly title: string;
  readonly detail: string;
  readonly hint: string;

  constructor(status: number, title: string, detail: string, hint = '') {
    super(detail || title);
    this.name = 'Problem';
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.hint = hint;
  }
}

const text = (v: unknown): string => (typeof v === 'string' ? v : '');

/** fromAnswer reads the body of an answer that is not a success. */
export function fromAnswer(status: number, body: unknown): Problem {
  const p = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  let detail = text(p.detail);
  if (Array.isArray(p.errors)) {
    const parts = (p.errors as { location?: unknown; message?: unknown }[]).map((e) => `${text(e.location)} ${text(e.message)}`.trim());
    if (parts.length > 0) detail = [detail, ...parts].filter(Boolean).join('; ');
  }
  return new Problem(status, text(p.title) || `Error ${status}`, detail, text(p.hint) || hintFor(status));
}

function hintFor(status: number): string {
  switch (status) {
    case 0: return 'penstock status';
    case 401: return 'Log in again: penstock login-link prints a link.';
    case 429: return 'Too many attempts. Wait a little.';
    default: return '';
  }
}

/** asProblem makes a problem of whatever was thrown. */
export function asProblem(err: unknown): Problem {
  if (err instanceof Problem) return err;
  if (err instanceof TypeError) return new Problem(0, 'The server does not answer', err.message, hintFor(0));
  return new Problem(-1, 'Something went wrong', err instanceof Error ? err.message : String(err));
}
