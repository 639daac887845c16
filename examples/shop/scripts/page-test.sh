#!/bin/sh
# Bundles the page's tests and runs them with node's own test runner.
set -eu
cd "$(dirname "$0")/.."
rm -rf dist/test
esbuild web/test/*.test.ts --bundle --platform=node --format=esm --out-extension:.js=.mjs --outdir=dist/test --log-level=warning
node --test dist/test/
