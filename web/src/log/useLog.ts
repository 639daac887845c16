import { useEffect, useMemo, useSyncExternalStore } from 'react';
import { fromAnswer } from '../api/problem';
import { LogBuffer, type Snapshot } from './buffer';

export interface LogOf { run: number; job: string; step: number }

export function logURL({ run, job, step }: LogOf, from = 0, follow = false): string {
  const q = new URLSearchParams({ job, step: String(step) });
  if (from > 0) q.set('from', String(from));
  if (follow) q.set('follow', 'true');
  return `/api/v1/runs/${run}/logs?${q}`;
}

const pause = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    const t = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => { clearTimeout(t); resolve(); }, { once: true });
  });

/** read takes the log until its end, after a break from where it broke off, until signal. */
async function read(of: LogOf, buffer: LogBuffer, signal: AbortSignal): Promise<void> {
  for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, 10_000)) {
    try {
      const response = await fetch(logURL(of, buffer.restart(), true), { signal });
      if (!response.ok || !response.body) {
        buffer.fail(fromAnswer(response.status, await response.json().catch(() => undefined)));
        if (response.status < 500) return;
      } else {
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let part = await reader.read(); !part.done; part = await reader.read()) {
          buffer.append(part.value);
          wait = 500;
        }
        buffer.end();
        return;
      }
    } catch (err) {
      buffer.fail(err); // also when nobody looks any more: then nobody is told
    }
    await pause(wait, signal);
  }
}

/** useLog follows the log of a step. */
export function useLog(run: number, job: string, step: number): Snapshot {
  // A buffer belongs to one step: another step is another log.
  // eslint-disable-next-line react-hooks/exhaustive-deps
  const buffer = useMemo(() => new LogBuffer(), [run, job, step]);
  useEffect(() => {
    const stop = new AbortController();
    void read({ run, job, step }, buffer, stop.signal);
    return () => { stop.abort(); };
  }, [buffer, run, job, step]);
  return useSyncExternalStore(buffer.subscribe, buffer.snapshot);
}
