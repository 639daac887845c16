import { parse, type Row } from './rows';

/** most is how many rows a page holds; what comes after them is counted, not kept. */
export const most = 200_000;

/** A Snapshot is what a log is at a moment. Rows only get more. */
export interface Snapshot {
  rows: readonly Row[];
  total: number; // rows that came, kept or not
  ended: boolean;
  error: unknown;
}

const none: Snapshot = { rows: [], total: 0, ended: false, error: undefined };

/**
 * LogBuffer takes the text of a log as it comes and tells its listeners, at
 * most once a frame. After a break, `restart` says from which row on to go on.
 */
export class LogBuffer {
  #rows: Row[] = [];
  #total = 0;
  #part = '';
  #ended = false;
  #error: unknown;
  #snapshot: Snapshot = none;
  #scheduled = false;
  readonly #listeners = new Set<() => void>();
  readonly #schedule: (f: () => void) => void;

  constructor(schedule: (f: () => void) => void = (f) => { requestAnimationFrame(f); }) {
    this.#schedule = schedule;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  };

  readonly snapshot = (): Snapshot => this.#snapshot;

  append(text: string): void {
    const lines = (this.#part + text).split('\n');
    this.#part = lines.pop() ?? '';
    for (const line of lines) this.#add(line);
    this.#error = undefined;
    this.#tell();
  }

  restart(): number {
    this.#part = ''; // comes again as a whole
    return this.#total;
  }

  end(): void {
    if (this.#part !== '') this.#add(this.#part);
    this.#part = '';
    this.#ended = true;
    this.#error = undefined;
    this.#tell();
  }

  fail(error: unknown): void {
    this.#error = error;
    this.#tell();
  }

  #add(line: string): void {
    this.#total++;
    if (this.#rows.length < most) this.#rows.push(parse(line));
  }

  #tell(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#schedule(() => {
      this.#scheduled = false;
      // The array is the same one; what is shown of it is what was there when
      // the snapshot was made.
      this.#snapshot = { rows: this.#rows, total: this.#total, ended: this.#ended, error: this.#error };
      for (const l of this.#listeners) l();
    });
  }
}
