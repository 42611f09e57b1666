// Builds dist/: lapic.js, its worker, and the files of onnxruntime-web that it loads.

import { build } from "esbuild";
import { cp, mkdir } from "node:fs/promises";
import { existsSync } from "node:fs";

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
