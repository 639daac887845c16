import type { Application, Repo, Run } from '../../api/client';
import { imageName, repoOf } from '../../ui/names';

/** Service is a repository with what is known of it, or what is deployed from elsewhere. */
export interface Service {
  name: string;
  repo?: Repo;
  run?: Run; // the newest
  apps: Application[]; // that run its images, or are made of its manifests
}

/** runs says whether an Application runs an image that is named like the repository. */
const runsImageOf = (app: Application, repo: string) =>
  (app.images ?? []).some((i) => {
    const { name } = imageName(i);
    return name === repo || name.endsWith(`/${repo}`);
  });

/**
 * services brings together what belongs to a repository: its newest run, and the
 * Applications that run its image or come from its manifests. Others stand for
 * themselves.
 */
export function services(repos: readonly Repo[], runs: readonly Run[], apps: readonly Application[]): Service[] {
  const placed = new Set<Application>();
  const out: Service[] = repos.map((repo) => {
    const mine = apps.filter((a) => repoOf(a.repo) === repo.name || runsImageOf(a, repo.name));
    mine.forEach((a) => placed.add(a));
    const run = runs.filter((r) => r.repo === repo.name).reduce<Run | undefined>((newest, r) => (newest && newest.id > r.id ? newest : r), undefined);
    return { name: repo.name, repo, apps: mine, ...(run && { run }) };
  });
  for (const a of apps) {
    if (!placed.has(a)) out.push({ name: a.name, apps: [a] });
  }
  return out;
}
