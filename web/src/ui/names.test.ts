import { expect, test } from 'vitest';
import { branch, imageName, repoOf } from './names';

test.each([
  ['penstock.localhost:7080/demo/shop:abc', 'penstock.localhost:7080/demo/shop', 'abc'],
  ['penstock.localhost:7080/demo/shop@sha256:0123456789abcdef', 'penstock.localhost:7080/demo/shop', 'sha256:0123456789ab'],
  ['shop:1@sha256:0123456789abcdef', 'shop', '1'],
  ['busybox', 'busybox', 'latest'],
])('%s', (image, name, version) => {
  expect(imageName(image)).toEqual({ name, version });
});

test('names', () => {
  expect(branch('refs/heads/feature/x')).toBe('feature/x');
  expect(repoOf('http://penstock.localhost:7080/git/demo/shop-manifests.git')).toBe('demo/shop-manifests');
  expect(repoOf('https://github.com/a/b.git')).toBe('');
});
