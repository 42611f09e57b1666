// Builds dist/: lapic.js, its worker, the files of onnxruntime-web that it loads, and the list of the packs in
// dist/packs.

import { existsSync } from "node:fs";
import { cp, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const RUNTIME = "node_modules/onnxruntime-web/dist";
const PACKS = "dist/packs";

await mkdir("dist", { recursive: true });
await build({
  entryPoints: { lapic: "src/lapic.ts", "lapic-worker": "src/worker.ts" },
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  sourcemap: true,
  outdir: "dist",
  conditions: ["onnxruntime-web-use-extern-wasm"],
  logLevel: "warning",
});
for (const name of ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]) {
  await cp(`${RUNTIME}/${name}`, `dist/${name}`);
}
if (existsSync(PACKS)) await writeFile(`${PACKS}/packs.json`, JSON.stringify(await packs(), null, 1));

/** What the list says of each pack: `Listed` in src/model/manifest.ts. */
async function packs() {
  const folders = (await readdir(PACKS)).filter((folder) => existsSync(`${PACKS}/${folder}/pack.json`)).sort();
  return Promise.all(
    folders.map(async (folder) => {
      const { model, name, qualities, files } = JSON.parse(await readFile(`${PACKS}/${folder}/pack.json`, "utf8"));
      const has = (graph) => `${graph}.onnx` in files;
      return { id: model, name, folder, qualities, realism: has("realism"), encodes: has("analysis") };
    }),
  );
}
