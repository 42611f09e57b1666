// Adds to dist/: the custom element, the loader for <img>, and the page with its AVIF encoder.

import { cp } from "node:fs/promises";
import { relative, resolve } from "node:path";
import { build } from "esbuild";

const ENTRIES = {
  "lapic-image": "src/element.ts",
  "lapic-loader": "src/loader.ts",
  page: "page/main.ts",
  "avif-worker": "page/avif-worker.ts",
};
const COPIES = {
  "page/index.html": "index.html",
  "page/page.css": "page.css",
  "page/icon.svg": "icon.svg",
  "page/example.html": "example.html",
  "../codec/golden/photo-q90-tiles.lapic": "photo.lapic",
  "node_modules/@jsquash/avif/codec/enc/avif_enc.wasm": "avif_enc.wasm",
  "node_modules/@jsquash/avif/LICENSE": "licenses/jsquash.txt",
};

// What is imported from beside the module that is built, so that a site has it once.
const BESIDE = { "src/lapic.ts": "./lapic.js", "src/element.ts": "./lapic-image.js" };

const beside = {
  name: "beside",
  setup({ onResolve }) {
    onResolve({ filter: /\.ts$/ }, ({ path, resolveDir, kind }) => {
      const name = relative(".", resolve(resolveDir, path)).replaceAll("\\", "/");
      const found = kind === "entry-point" ? undefined : BESIDE[name];
      return found && { path: found, external: true };
    });
  },
};

await build({
  entryPoints: ENTRIES,
  plugins: [beside],
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  outdir: "dist",
  logLevel: "warning",
});
for (const [from, name] of Object.entries(COPIES)) await cp(from, `dist/${name}`);
