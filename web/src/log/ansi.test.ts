import { expect, test } from 'vitest';
import { plain, spans } from './ansi';

const esc = '\x1b';

test.each<[string, unknown]>([
  ['plain', [{ text: 'plain' }]],
  ['', []],
  [`${esc}[31mred${esc}[0m not`, [{ text: 'red', color: 'var(--ansi-red)' }, { text: ' not' }]],
  [`${esc}[1;92mb${esc}[22mg${esc}[39mn`, [
    { text: 'b', bold: true, color: 'var(--ansi-bright-green)' }, { text: 'g', color: 'var(--ansi-bright-green)' }, { text: 'n' },
  ]],
  [`${esc}[38;5;196mx${esc}[48;2;1;2;3my`, [{ text: 'x', color: 'rgb(255,0,0)' }, { text: 'y', color: 'rgb(255,0,0)', back: 'rgb(1,2,3)' }]],
  [`${esc}[38;5;244mx`, [{ text: 'x', color: 'rgb(128,128,128)' }]],
  [`${esc}[mreset`, [{ text: 'reset' }]],
  [`a${esc}[2Kb${esc}]8;;http://x${esc}\\c${esc}]0;title\x07d`, [{ text: 'a' }, { text: 'b' }, { text: 'c' }, { text: 'd' }]],
  [`tab\there\x07`, [{ text: 'tab\there' }]],
  [`${esc}[38;5;999mx`, [{ text: 'x' }]],
  [`cut ${esc}[3`, [{ text: 'cut ' }]],
])('%j', (line, want) => {
  expect(spans(line)).toEqual(want);
});

test('plain drops all of it', () => {
  expect(plain(`${esc}[1mA${esc}[0mB`)).toBe('AB');
});
