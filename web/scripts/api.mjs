// Writes src/api/schema.ts from the OpenAPI document that the server's routes
// are compared with. With --check it fails when the file is not current.
import { readFileSync, writeFileSync } from 'node:fs';
import openapiTS, { astToString } from 'openapi-typescript';

const spec = new URL('../../api/openapi.json', import.meta.url);
const file = new URL('../src/api/schema.ts', import.meta.url);
const text = '// Code generated from api/openapi.json by `npm run api`. DO NOT EDIT.\n\n' + astToString(await openapiTS(spec));
if (!process.argv.includes('--check')) {
  writeFileSync(file, text);
} else if (readFileSync(file, 'utf8') !== text) {
  console.error('src/api/schema.ts is not what api/openapi.json says; run: npm --prefix web run api');
  process.exit(1);
}
