import assert from "node:assert/strict";
import { test } from "node:test";
import { decodePicture } from "../src/coding/decode.ts";
import { encodePicture } from "../src/coding/encode.ts";
import { Latents } from "../src/coding/latents.ts";
import { readFile } from "../src/format/container.ts";
import { Library } from "../src/library.ts";
import type { Pixels } from "../src/picture/planes.ts";
import { qualitiesOf } from "../src/picture/qualities.ts";
import { Rect, latentBounds } from "../src/picture/rect.ts";
import { golden, noPacks, readPack } from "./files.ts";

const STEPS = { pause: async () => undefined, progress: () => undefined };

/** Waves of all lengths, in colour. */
function waves(width: number, height: number): Pixels {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let at = 0; at < width * height; at++) {
    const [x, y] = [at % width, Math.floor(at / width)];
    for (let colour = 0; colour < 3; colour++)
      data[4 * at + colour] = 128 + 90 * Math.sin((x * x) / 900 + y / (9 + 4 * colour));
    data[4 * at + 3] = 255;
  }
  return { data, width, height };
}

const largestDifference = (a: Pixels, b: Pixels) =>
  a.data.reduce((most, value, at) => Math.max(most, Math.abs(value - b.data[at]!)), 0);

test("pieces, and the first look at them, give the whole picture", { skip: noPacks }, async () => {
  const model = await new Library(readPack).forQuality(30, "eye");
  const bytes = await encodePicture(model, waves(330, 290), { quality: 30 * 256, chunks: new Map() }, STEPS);
  const file = await readFile(bytes);
  const whole = await decodePicture(model, file, { scale: 1, realism: 0 }, STEPS);
  const looks: Pixels[] = [];
  const progress: number[][] = [];
  const steps = { ...STEPS, progress: (done: number, total: number) => progress.push([done, total]) };
  const preview = async (look: Pixels) => void looks.push(look);
  const pieces = await decodePicture(model, file, { scale: 1, realism: 0, piece: 8, preview }, steps);
  assert.ok(largestDifference(whole, pieces) <= 1);
  assert.equal(looks.length, 1);
  const eighth = await decodePicture(model, file, { scale: 8, realism: 0 }, STEPS);
  assert.deepEqual([eighth.width, eighth.height], [42, 37]);
  assert.ok(largestDifference(looks[0]!, eighth) <= 1);
  assert.deepEqual(
    progress,
    progress.map((_, at) => [at + 1, 1 + 2 * 9]),
  );
});

test("alpha at 1/8 lies on the grid of the colours", { skip: noPacks }, async () => {
  const pixels = waves(33, 17);
  for (let at = 0; at < 33 * 17; at++) pixels.data[4 * at + 3] = at % 33 < 16 ? 40 : at % 33 < 32 ? 200 : 90;
  const model = await new Library(readPack).forQuality(30, "eye");
  const bytes = await encodePicture(model, pixels, { quality: 30 * 256, chunks: new Map() }, STEPS);
  for (const piece of [undefined, 1]) {
    const look = await decodePicture(model, await readFile(bytes), { scale: 8, realism: 0, piece }, STEPS);
    const alpha = Array.from({ length: 15 }, (_, at) => look.data[4 * at + 3]);
    assert.deepEqual(alpha, [1, 2, 3].flatMap(() => [40, 40, 200, 200, 90]));
  }
});

test("pieces of a picture with regions give the whole picture", { skip: noPacks }, async () => {
  const file = await readFile(golden("regions-q40.lapic"));
  const model = await new Library(readPack).byId(file.header.model);
  for (const realism of [0, 1]) {
    const whole = await decodePicture(model, file, { scale: 1, realism }, STEPS);
    const pieces = await decodePicture(model, file, { scale: 1, realism, piece: 3 }, STEPS);
    assert.ok(largestDifference(whole, pieces) <= 1);
  }
});

test("each tile is decoded once, and its rows stay as long as they are needed", { skip: noPacks }, async () => {
  const file = await readFile(golden("photo-q90-tiles.lapic"));
  const { header, tiles } = file;
  const model = await new Library(readPack).byId(header.model);
  const bounds = latentBounds(header.width, header.height);
  let count = 0;
  const latents = () => new Latents(model, file, qualitiesOf(header), STEPS.pause, async () => void count++);
  const whole = await latents().region(bounds, bounds.bottom);
  assert.equal(count, tiles.length);
  const parts = latents();
  for (let top = 0; top < bounds.bottom; top += 3) {
    for (let left = 0; left < bounds.right; left += 5) {
      const rect = new Rect(top - 1, left - 1, top + 4, left + 6).grow(0, bounds);
      const part = await parts.region(rect, top + 2);
      const expected = [];
      for (let channel = 0; channel < model.manifest.sizes.M; channel++) {
        for (let row = rect.top; row < rect.bottom; row++) {
          const at = (channel * bounds.height + row) * bounds.width;
          expected.push(...whole.subarray(at + rect.left, at + rect.right));
        }
      }
      assert.deepEqual([...part], expected);
    }
  }
  assert.equal(count, 2 * tiles.length);
});
