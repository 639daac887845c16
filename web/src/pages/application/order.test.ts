import { expect, test } from 'vitest';
import { inOrder } from './order';

test('what needs somebody comes first', () => {
  const got = inOrder([
    { kind: 'Service', name: 'b', sync: 'Synced', health: 'Healthy' },
    { kind: 'ConfigMap', name: 'a', sync: 'OutOfSync' },
    { kind: 'Deployment', name: 'c', sync: 'Synced', health: 'Degraded' },
    { kind: 'Deployment', name: 'd', sync: 'Synced', health: 'Progressing' },
    { kind: 'ConfigMap', name: 'e', sync: 'Synced' },
  ]);
  expect(got.map((t) => t.name)).toEqual(['c', 'd', 'a', 'e', 'b']);
});
