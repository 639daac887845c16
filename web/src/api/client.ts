import createClient, { type Middleware } from 'openapi-fetch';
import { fromAnswer } from './problem';
import type { components, paths } from './schema';
import { csrf } from './session';

export type Run = components['schemas']['Run'];
export type Job = components['schemas']['Job'];
export type Step = components['schemas']['Step'];
export type Annotation = components['schemas']['Annotation'];
export type Application = components['schemas']['Application'];
export type Repo = components['schemas']['Repo'];

// The session is a cookie that scripts cannot read. A write carries what only
// our own page knows, so that no other page can make one.
const guard: Middleware = {
  onRequest({ request }) {
    if (request.method !== 'GET' && csrf() !== '') request.headers.set('X-Penstock-CSRF', csrf());
    return request;
  },
  async onResponse({ response }) {
    if (response.ok) return;
    const body: unknown = await response.clone().json().catch(() => undefined);
    throw fromAnswer(response.status, body);
  },
};

const client = createClient<paths>({ baseUrl: '/', fetch: (request) => fetch(request) });
client.use(guard);

/** api has a method for each HTTP method; every path and body is typed by the OpenAPI document. */
export const api = client;

/** must gives the data of an answer; the guard has thrown for all others. */
export async function must<T>(answer: Promise<{ data?: T }>): Promise<T> {
  const { data } = await answer;
  if (data === undefined) throw fromAnswer(-1, { title: 'The server sent nothing' });
  return data;
}
