// Builds dist/: lapic.js, its worker, the files of onnxruntime-web that it loads, the custom element and the page.

import { build } from "esbuild";
import { cp, mkdir } from "node:fs/promises";
import { existsSync } from "node:fs";
import { relative, resolve } from "node:path";

const RUNTIME = "node_modules/onnxruntime-web/dist";

await mkdir("dist", { recursive: true });
const entries = { lapic: "src/lapic.ts", "lapic-worker": "src/worker.ts" };
await build({
  entryPoints: Object.fromEntries(Object.entries(entries).filter(([, path]) => existsSync(path))),
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  sourcemap: true,
  outdir: "dist",
  conditions: ["onnxruntime-web-use-extern-wasm"],
  logLevel: "warning",
});
for (const name of ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]) await cp(`${RUNTIME}/${name}`, `dist/${name}`);

// The element and the page import lapic.js beside them, so that a site has it once.
const SHARED = { "src/lapic.ts": "./lapic.js", "src/element.ts": "./lapic-image.js" };
const besides = {
  name: "besides",
  setup({ onResolve }) {
    onResolve({ filter: /\.ts$/ }, ({ path, resolveDir, kind }) => {
      const shared = kind === "entry-point" ? undefined : SHARED[relative(".", resolve(resolveDir, path))];
      return shared && { path: shared, external: true };
    });
  },
};
await build({
  entryPoints: {
    "lapic-image": "src/element.ts",
    "lapic-loader": "src/loader.ts",
    page: "page/main.ts",
    "avif-worker": "page/avif-worker.ts",
  },
  plugins: [besides],
  external: ["module"],
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "linked",
  outdir: "dist",
  logLevel: "warning",
});
for (const name of ["index.html", "page.css", "icon.svg", "example.html"]) await cp(`page/${name}`, `dist/${name}`);
await cp("node_modules/@jsquash/avif/codec/enc/avif_enc.wasm", "dist/avif_enc.wasm");
await cp("node_modules/@jsquash/avif/LICENSE", "dist/avif_enc.LICENSE.txt");
await cp("../codec/golden/photo-q90-tiles.lapic", "dist/photo.lapic");
