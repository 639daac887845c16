import { expect, test } from 'vitest';
import { LogBuffer } from './buffer';

const now = (f: () => void) => { f(); };

test('lines come in pieces', () => {
  const b = new LogBuffer(now);
  b.append('2026-01-02T03:04:05Z on');
  expect(b.snapshot().rows).toHaveLength(0);
  b.append('e\ntwo\nthr');
  expect(b.snapshot().rows.map((r) => r.text)).toEqual(['one', 'two']);
  b.end();
  expect(b.snapshot().rows.map((r) => r.text)).toEqual(['one', 'two', 'thr']);
  expect(b.snapshot().ended).toBe(true);
});

test('after a break what is known is not shown twice', () => {
  const b = new LogBuffer(now);
  b.append('one\ntwo\nth');
  b.fail(new Error('gone'));
  expect(b.snapshot().error).toBeDefined();
  expect(b.restart()).toBe(2);
  b.append('three\n');
  expect(b.snapshot().rows.map((r) => r.text)).toEqual(['one', 'two', 'three']);
  expect(b.snapshot().error).toBeUndefined();
});

test('listeners are told once a frame', () => {
  const frames: (() => void)[] = [];
  const b = new LogBuffer((f) => frames.push(f));
  let told = 0;
  const leave = b.subscribe(() => { told++; });
  b.append('a\n');
  b.append('b\n');
  expect(frames).toHaveLength(1);
  frames.forEach((f) => { f(); });
  expect(told).toBe(1);
  leave();
  b.append('c\n');
  frames[1]?.();
  expect(told).toBe(1);
});
