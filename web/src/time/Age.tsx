import { ago, took } from './format';
import { useNow } from './useNow';

/** Age says how long ago, with the exact time for those who ask. */
export function Age({ at }: { at: string | undefined }) {
  const now = useNow();
  if (!at) return null;
  return <time dateTime={at} title={new Date(at).toLocaleString()}>{ago(at, Math.max(now, Date.parse(at)))}</time>;
}

/** Took says how long something took or has been going on. */
export function Took({ from, to }: { from: string | undefined; to: string | undefined }) {
  const now = useNow();
  return <>{took(from, to, now)}</>;
}
