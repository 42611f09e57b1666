import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decodeTile } from "../src/coding/latents.ts";
import { allSymbols } from "../src/coding/passes.ts";
import { readFile } from "../src/format/container.ts";
import { Library } from "../src/library.ts";
import { partOf, qualitiesOf } from "../src/picture/qualities.ts";
import { latentBounds, tileEdge } from "../src/picture/rect.ts";
import { GOLDEN, golden, noPacks, readPack } from "./files.ts";

const STEPS = { pause: async () => undefined, progress: () => undefined };

test("every golden file decodes to its symbols", { skip: noPacks }, async (context) => {
  const digests = JSON.parse(readFileSync(`${GOLDEN}/golden.json`, "utf8")) as Record<string, { symbols: string }>;
  const library = new Library(readPack);
  for (const [name, { symbols }] of Object.entries(digests)) {
    await context.test(name, async () => {
      const { header, tiles } = await readFile(golden(name));
      const model = await library.byId(header.model);
      const bounds = latentBounds(header.width, header.height);
      const digest = createHash("sha256");
      for (const [at, rect] of bounds.cut(tileEdge(header.tile, bounds)).entries()) {
        const here = partOf(qualitiesOf(header), rect);
        const { z, passes } = await decodeTile(model, header, tiles[at]!, rect, here, STEPS.pause);
        digest.update(z).update(allSymbols(passes));
      }
      assert.equal(digest.digest("hex"), symbols);
    });
  }
});
