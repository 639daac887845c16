interface Thing { kind: string; name: string; health?: string; sync?: string }

const sickness = ['Degraded', 'Missing', 'Unknown', 'Progressing', 'Suspended', 'Healthy'];

function rank(t: Thing): number {
  const sick = t.health === undefined ? sickness.length : sickness.indexOf(t.health);
  if (sick < 5) return sick;
  return t.sync === 'OutOfSync' ? 5 : 6;
}

/** inOrder sorts what needs somebody to the top, then by kind and name. */
export function inOrder<T extends Thing>(all: readonly T[]): T[] {
  return [...all].sort((a, b) => rank(a) - rank(b) || a.kind.localeCompare(b.kind) || a.name.localeCompare(b.name));
}
