/** duration says how long, in at most two units: "0.4 s", "12 s", "3 m 04 s", "2 h 05 m". */
export function duration(ms: number): string {
  const s = Math.max(0, ms) / 1000;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  const whole = Math.round(s);
  if (whole < 60) return `${whole} s`;
  const two = (n: number) => String(n).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${two(whole % 60)} s`;
  const hours = Math.floor(whole / 3600);
  if (hours < 48) return `${hours} h ${two(Math.floor((whole % 3600) / 60))} m`;
  return `${Math.floor(hours / 24)} d ${two(hours % 24)} h`;
}

/** ago says how long before now, roughly. */
export function ago(at: string | undefined, now: number): string {
  if (!at) return '';
  const s = Math.round((now - Date.parse(at)) / 1000);
  if (Number.isNaN(s)) return '';
  if (s < 5) return 'just now';
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} days ago`;
}

/** took says how long something has been going on; '' when it has not begun. */
export function took(from: string | undefined, to: string | undefined, now: number): string {
  if (!from) return '';
  return duration((to ? Date.parse(to) : now) - Date.parse(from));
}
