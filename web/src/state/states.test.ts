import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { glyphs, ofHealth, ofRun } from './states';

test('shapes are those of the command line', () => {
  const go = readFileSync(new URL('../../../internal/face/mark/mark.go', import.meta.url), 'utf8');
  const marks: Record<string, string> = {};
  for (const [, word = '', glyph = ''] of go.matchAll(/^\t"([a-z ]+)":\s+"(.)",$/gmu)) marks[word] = glyph;
  expect(Object.keys(marks).length).toBeGreaterThan(5);
  expect({ ...glyphs, ...marks }).toEqual(glyphs);
});

test.each([
  ['queued', undefined, 'queued'],
  ['in_progress', '', 'running'],
  ['completed', 'success', 'passed'],
  ['completed', 'startup_failure', 'failed'],
  ['completed', 'cancelled', 'cancelled'],
  ['completed', 'neutral', 'unknown'],
  ['', '', 'unknown'],
])('%s %s is %s', (status, conclusion, want) => {
  expect(ofRun({ status, conclusion })).toBe(want);
});

test('a health that nobody knows is unknown', () => {
  expect(ofHealth('Fine')).toBe('unknown');
});
