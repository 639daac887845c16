import { expect, test } from 'vitest';
import { ago, duration, took } from './format';

test.each([
  [0, '0.0 s'], [-5, '0.0 s'], [440, '0.4 s'], [9_949, '9.9 s'], [9_960, '10 s'], [59_400, '59 s'], [59_600, '1 m 00 s'],
  [184_000, '3 m 04 s'], [3_599_600, '1 h 00 m'], [7_500_000, '2 h 05 m'], [200_000_000, '2 d 07 h'],
])('%d ms is %s', (ms, want) => {
  expect(duration(ms)).toBe(want);
});

test('ago', () => {
  const now = Date.parse('2026-01-02T00:00:00Z');
  expect(ago('2026-01-01T23:59:58Z', now)).toBe('just now');
  expect(ago('2026-01-01T23:59:18Z', now)).toBe('42 s ago');
  expect(ago('2026-01-01T22:00:00Z', now)).toBe('2 h ago');
  expect(ago(undefined, now)).toBe('');
  expect(ago('nonsense', now)).toBe('');
});

test('what has not begun took nothing', () => {
  expect(took(undefined, undefined, 0)).toBe('');
  expect(took('2026-01-01T00:00:00Z', '2026-01-01T00:00:12Z', 0)).toBe('12 s');
});
