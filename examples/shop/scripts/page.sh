#!/bin/sh
# Bundles the page into dist/page.
set -eu
cd "$(dirname "$0")/.."
mkdir -p dist/page
esbuild web/src/app.ts --bundle --minify --target=es2022 --format=esm --outfile=dist/page/app.js --log-level=warning
cp web/index.html web/style.css dist/page/
