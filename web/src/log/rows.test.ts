import { expect, test } from 'vitest';
import { enclosing, firstError, matching, parse, visible } from './rows';

const lines = ['before', '##[group]one', 'in one', '##[group]two', 'in two', '##[endgroup]', '##[endgroup]', '##[error]broken'];
const rows = lines.map((l) => parse(`2026-01-02T03:04:05.1234567Z ${l}`));

test('a line is time, kind and text', () => {
  expect(rows[1]).toEqual({ at: '2026-01-02T03:04:05.1234567Z', kind: 'group', text: 'one' });
  expect(parse('no time')).toEqual({ at: '', kind: 'text', text: 'no time' });
  expect(parse('2026-01-02T03:04:05Z ')).toEqual({ at: '2026-01-02T03:04:05Z', kind: 'text', text: '' });
  expect(parse('2026-01-02T03:04:05Z ##[nonsense]x').text).toBe('##[nonsense]x');
});

test.each<[number[], [number, number][]]>([
  [[], [[0, 0], [1, 0], [7, 0]]],
  [[1], [[0, 0], [1, 0], [2, 1], [3, 1], [7, 0]]],
  [[1, 3], [[0, 0], [1, 0], [2, 1], [3, 1], [4, 2], [7, 0]]],
  [[3], [[0, 0], [1, 0], [7, 0]]],
])('with %j open', (open, want) => {
  expect(visible(rows, new Set(open)).map((v) => [v.index, v.depth])).toEqual(want);
});

test('an end without a beginning hides nothing', () => {
  expect(visible(['##[endgroup]', 'a'].map(parse), new Set()).map((v) => v.index)).toEqual([1]);
});

test('what encloses a row', () => {
  expect(enclosing(rows, 4)).toEqual([1, 3]);
  expect(enclosing(rows, 7)).toEqual([]);
});

test('searching ignores case and marks', () => {
  expect(matching(rows, 'IN ')).toEqual([2, 4]);
  expect(matching(rows, '')).toEqual([]);
  expect(firstError(rows)).toBe(7);
});
