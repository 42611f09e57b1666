// Builds dist/: lapic.js, its worker, the files of onnxruntime-web that it loads, the licences of what dist/ contains, and
// the list of the packs in dist/packs. With --tests, the tests as modules for node, in build/test.

import { existsSync } from "node:fs";
import { cp, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const RUNTIME = "node_modules/onnxruntime-web/dist";
const PACKS = "dist/packs";

const MODULES = { bundle: true, format: "esm", target: "es2022", sourcemap: true, logLevel: "warning" };

if (process.argv.includes("--tests")) {
  const tests = (await readdir("test")).filter((name) => name.endsWith(".test.ts"));
  const external = ["onnxruntime-web"];
  await build({
    ...MODULES,
    entryPoints: tests.map((name) => `test/${name}`),
    outdir: "build/test",
    outExtension: { ".js": ".mjs" },
    platform: "node",
    external,
  });
  process.exit();
}

await mkdir("dist", { recursive: true });
await build({
  ...MODULES,
  entryPoints: { lapic: "src/lapic.ts", "lapic-worker": "src/worker.ts" },
  minify: true,
  outdir: "dist",
  conditions: ["onnxruntime-web-use-extern-wasm"],
});
for (const name of ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]) {
  await cp(`${RUNTIME}/${name}`, `dist/${name}`);
}
await cp("licenses", "dist/licenses", { recursive: true });
if (existsSync(PACKS)) await writeFile(`${PACKS}/packs.json`, JSON.stringify(await packs(), null, 1));

/** What the list says of each pack: `Listed` in src/model/manifest.ts. */
async function packs() {
  const folders = (await readdir(PACKS)).filter((folder) => existsSync(`${PACKS}/${folder}/pack.json`)).sort();
  return Promise.all(
    folders.map(async (folder) => {
      const { model, name, qualities, tune, files } = JSON.parse(await readFile(`${PACKS}/${folder}/pack.json`, "utf8"));
      const has = (graph) => `${graph}.onnx` in files;
      return { id: model, name, folder, qualities, tune, realism: has("realism"), encodes: has("analysis") };
    }),
  );
}
