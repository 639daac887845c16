import { plain } from './ansi';

// The lines of a log as rows: time, what kind of line it is, text.

export type Kind = 'text' | 'group' | 'endgroup' | 'error' | 'warning' | 'notice' | 'debug' | 'command';

export interface Row {
  at: string; // RFC 3339, '' when the line has none
  kind: Kind;
  text: string;
}

const stamped = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z) ?/;
const marked = /^##\[(group|endgroup|error|warning|notice|debug|command)\]/;

/** parse reads a line as the server sends it: time, blank, text. */
export function parse(line: string): Row {
  const at = stamped.exec(line);
  const rest = at ? line.slice(at[0].length) : line;
  const mark = marked.exec(rest);
  return { at: at?.[1] ?? '', kind: (mark?.[1] ?? 'text') as Kind, text: mark ? rest.slice(mark[0].length) : rest };
}

/**
 * visible lists the indices of the rows to show: the rows of folded groups and
 * the marks of their ends are left out. A group is known by the index of its
 * first row; `open` holds those that are not folded. `depth` says how deep each
 * shown row is.
 */
export function visible(rows: readonly Row[], open: ReadonlySet<number>): { index: number; depth: number }[] {
  const out: { index: number; depth: number }[] = [];
  const groups: boolean[] = []; // whether what is inside each shows
  let hidden = 0;
  rows.forEach((row, index) => {
    if (row.kind === 'endgroup') {
      if (groups.pop() === false) hidden--;
      return;
    }
    if (hidden === 0) out.push({ index, depth: groups.length });
    if (row.kind === 'group') {
      const shows = open.has(index);
      groups.push(shows);
      if (!shows) hidden++;
    }
  });
  return out;
}

/** enclosing lists the groups that a row is in, outermost first. */
export function enclosing(rows: readonly Row[], index: number): number[] {
  const groups: number[] = [];
  for (let i = 0; i < index && i < rows.length; i++) {
    if (rows[i]?.kind === 'group') groups.push(i);
    else if (rows[i]?.kind === 'endgroup') groups.pop();
  }
  return groups;
}

const textOf = (row: Row) => (row.text.includes('\x1b') ? plain(row.text) : row.text);

/** matching lists the rows that hold the words, whatever their case. */
export function matching(rows: readonly Row[], words: string): number[] {
  const want = words.toLowerCase();
  if (want === '') return [];
  const out: number[] = [];
  rows.forEach((row, i) => {
    if (row.kind !== 'endgroup' && textOf(row).toLowerCase().includes(want)) out.push(i);
  });
  return out;
}

/** firstError is the row that says what went wrong, -1 when none does. */
export const firstError = (rows: readonly Row[]): number => rows.findIndex((r) => r.kind === 'error');
