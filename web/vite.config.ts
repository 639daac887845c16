import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// Everything is served by the Penstock server itself: hashed names below
// /assets, no inline scripts (the page's policy forbids them), nothing from
// other hosts. `npm run dev` proxies to a running server.
const server = process.env.PENSTOCK_SERVER ?? 'http://penstock.localhost:7080';

export default defineConfig({
  plugins: [react()],
  build: {
    target: 'es2022',
    outDir: 'dist',
    emptyOutDir: true,
    sourcemap: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    host: '127.0.0.1',
    proxy: Object.fromEntries(['/api', '/version', '/readyz'].map((path) => [path, { target: server, changeOrigin: true }])),
  },
});
