/** branch is a ref without what is before its name. */
export const branch = (ref: string): string => ref.replace(/^refs\/(heads|tags|pull)\//, '');

/** short is as much of a commit's hash as people read. */
export const short = (commit: string): string => commit.slice(0, 8);

/** imageName splits an image into its name and its tag or short digest. */
export function imageName(image: string): { name: string; version: string } {
  const [before = '', digest] = image.split('@');
  const slash = before.lastIndexOf('/');
  const colon = before.indexOf(':', slash + 1);
  const name = colon < 0 ? before : before.slice(0, colon);
  const tag = colon < 0 ? '' : before.slice(colon + 1);
  if (tag !== '') return { name, version: tag };
  return { name, version: digest ? digest.replace(/^(sha256:.{12}).*/, '$1') : 'latest' };
}

/** repoOf finds the hosted repository that an address is of, '' when it is none. */
export function repoOf(url: string): string {
  return /\/git\/([^/]+\/[^/]+?)(?:\.git)?\/?$/.exec(url)?.[1] ?? '';
}
