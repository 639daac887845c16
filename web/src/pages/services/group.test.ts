import { expect, test } from 'vitest';
import type { Application, Repo, Run } from '../../api/client';
import { services } from './group';

const repo = (name: string) => ({ name }) as Repo;
const run = (id: number, of: string) => ({ id, repo: of }) as Run;
const app = (name: string, from: string, ...images: string[]) => ({ name, repo: from, images }) as Application;

test('what belongs together', () => {
  const shop = app('shop', 'http://penstock.localhost:7080/git/demo/shop-manifests.git', 'penstock.localhost:7080/demo/shop@sha256:aa');
  const other = app('other', 'https://github.com/a/b.git');
  const got = services([repo('demo/shop'), repo('demo/shop-manifests')], [run(1, 'demo/shop'), run(3, 'demo/shop'), run(2, 'demo/shop')], [shop, other]);
  expect(got.map((s) => [s.name, s.run?.id, s.apps.map((a) => a.name)])).toEqual([
    ['demo/shop', 3, ['shop']],
    ['demo/shop-manifests', undefined, ['shop']],
    ['other', undefined, ['other']],
  ]);
});

test('a name that only ends alike is another one', () => {
  const got = services([repo('demo/shop')], [], [app('x', 'https://elsewhere/x.git', 'localhost/mydemo/shop:1')]);
  expect(got[0]?.apps).toEqual([]);
});
