import assert from "node:assert/strict";
import { createServer, Server } from "node:http";
import { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { Shop } from "../src/shop";

// A real server that answers with what it was asked.
let server: Server;
let shop: Shop;
const asked: string[] = [];

before(async () => {
  server = createServer(async (req, res) => {
    let body = "";
    for await (const chunk of req) body += chunk;
    asked.push(`${req.method} ${req.url} ${body}`.trim());
    if (body.includes("unicorn")) {
      res.writeHead(404).end('{"error":"no such product"}');
    } else if (req.method === "DELETE") {
      res.writeHead(204).end();
    } else {
      res.end('{"lines":[],"total":0,"version":"v7"}');
    }
  });
  await new Promise<void>((ok) => server.listen(0, "127.0.0.1", ok));
  const { port } = server.address() as AddressInfo;
  shop = new Shop((path, init) => fetch(`http://127.0.0.1:${port}${path}`, init));
});

after(() => server.close());

test("adds one of a product", async () => {
  await shop.add("valve");
  assert.equal(asked.at(-1), 'POST /api/cart {"product":"valve","quantity":1}');
});

test("empties the cart and asks for what is left", async () => {
  assert.deepEqual((await shop.empty()).lines, []);
  assert.deepEqual(asked.slice(-2), ["DELETE /api/cart", "GET /api/cart"]);
});

test("tells the version", async () => assert.equal(await shop.version(), "v7"));

test("passes on why the shop said no", async () => {
  await assert.rejects(shop.add("unicorn"), /no such product/);
});
