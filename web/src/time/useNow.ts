import { useSyncExternalStore } from 'react';

// One clock for all that shows ages and durations: it ticks once a second while
// anybody looks and the page is visible.
let now = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    if (document.hidden) return;
    now = Date.now();
    for (const l of listeners) l();
  }, 1000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** useNow gives the time, at most a second old. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}
