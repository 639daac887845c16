// Puts a .gz and a .br beside every file that gets smaller by it, so that the
// server compresses nothing. Fails when the page outgrows its budget.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const budget = 250_000; // bytes of JavaScript, gzipped, before the first page shows
const dist = new URL('../dist/', import.meta.url);
let first = 0;
const index = readFileSync(new URL('index.html', dist), 'utf8');
for (const name of readdirSync(dist, { recursive: true })) {
  if (!/\.(html|js|css|svg|json|txt)$/.test(name)) continue;
  const raw = readFileSync(new URL(name, dist));
  const gz = gzipSync(raw, { level: 9 });
  const br = brotliCompressSync(raw, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: raw.length } });
  if (name.endsWith('.js') && index.includes(name)) first += gz.length;
  if (gz.length < raw.length) writeFileSync(new URL(name + '.gz', dist), gz);
  if (br.length < raw.length) writeFileSync(new URL(name + '.br', dist), br);
}
console.log(`JavaScript before the first page: ${first} bytes gzipped, budget ${budget}`);
if (first > budget) process.exit(1);
