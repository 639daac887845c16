import { expect, test } from 'vitest';
import { codeOf } from './code';

test.each([
  ['http://penstock.localhost:7080/login#psl_abc', 'code', 'psl_abc'],
  [' psl_abc\n', 'code', 'psl_abc'],
  ['pst_admin', 'token', 'pst_admin'],
])('%s', (text, kind, value) => {
  expect(codeOf(text)).toEqual({ kind, value });
});
