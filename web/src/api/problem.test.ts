import { expect, test } from 'vitest';
import { asProblem, fromAnswer } from './problem';

test('an answer becomes title, detail and hint', () => {
  const p = fromAnswer(422, { title: 'Unprocessable Entity', detail: 'validation failed', hint: 'try x', errors: [{ location: 'body.name', message: 'too long' }] });
  expect([p.status, p.title, p.detail, p.hint]).toEqual([422, 'Unprocessable Entity', 'validation failed; body.name too long', 'try x']);
});

test.each([[undefined], ['text'], [null], [[]], [{ title: 3 }]])('%j is a problem too', (body) => {
  expect(fromAnswer(502, body).title).toBe('Error 502');
});

test('a server that is away is said to be away', () => {
  expect(asProblem(new TypeError('Failed to fetch')).status).toBe(0);
  expect(asProblem('odd').detail).toBe('odd');
});
