export interface Said { kind: 'code' | 'token'; value: string }

/** codeOf tells what somebody has pasted: a login link, its code, or an access token. */
export function codeOf(text: string): Said {
  const said = text.trim();
  const value = said.includes('#') ? said.slice(said.lastIndexOf('#') + 1) : said;
  return { kind: value.startsWith('psl_') ? 'code' : 'token', value };
}
