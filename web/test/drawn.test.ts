import assert from "node:assert/strict";
import { test } from "node:test";
import { modelFor, modelNamed } from "../src/model/manifest.ts";
import type { Listed, Tune } from "../src/model/manifest.ts";
import { isDrawn } from "../src/picture/drawn.ts";

/** A grey picture whose value at a place is given. */
function picture(width: number, height: number, value: (row: number, column: number) => number) {
  const data = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let at = 0; at < width * height; at++) {
    data.fill(value(Math.floor(at / width), at % width), 4 * at, 4 * at + 3);
  }
  return { data, width, height };
}

test("patterns and plain pictures are drawn, slopes and what is too small are not", () => {
  for (const cell of [1, 2, 10])
    assert.ok(isDrawn(picture(96, 64, (row, column) => 90 * ((Math.floor(row / cell) + Math.floor(column / cell)) % 2))));
  assert.ok(isDrawn(picture(50, 40, () => 7)));
  const faded = picture(50, 40, () => 7);
  for (let at = 3; at < faded.data.length; at += 4) faded.data[at] = at % 251;
  assert.ok(isDrawn(faded)); // colours alone count
  assert.ok(!isDrawn(picture(64, 64, (row, column) => row + column / 2)));
  assert.ok(!isDrawn(picture(96, 64, (row, column) => 4 * Math.floor(row / 2) + Math.floor(column / 16))));
  assert.ok(!isDrawn(picture(2, 9, () => 7)));
  assert.ok(!isDrawn(picture(9, 1, () => 7)));
});

test("a model of the tune encodes, else one of another", () => {
  const listed = (name: string, highest: number, tune: Tune | null): Listed => {
    return { id: name, name, folder: name, qualities: [1, highest], tune, realism: false, encodes: true };
  };
  const named = (models: Listed[], quality: number, tune: Tune) => modelFor(models, quality, tune).name;
  const all = [listed("b", 60, null), listed("c", 100, "eye"), listed("a", 60, "eye"), listed("d", 60, "psnr")];
  assert.equal(named(all, 60, "eye"), "a");
  assert.equal(named(all, 61, "eye"), "c");
  assert.equal(named(all, 60, "psnr"), "d");
  assert.equal(named(all, 61, "psnr"), "c");
  assert.equal(named([all[0]!], 10, "psnr"), "b");
  assert.throws(() => named(all, 101, "eye"), /no model to encode with/);
});

test("a name means a model, and the one for higher qualities", () => {
  const listed = (name: string, qualities: [number, number], encodes = true): Listed => {
    return { id: name, name, folder: name, qualities, tune: null, realism: false, encodes };
  };
  const low = 60 + 1 / 256;
  const all = [listed("a-high", [low, 100]), listed("a", [1, 60]), listed("b", [1, 60]), listed("c", [1, 100], false)];
  const named = (name: string, quality: number) => modelNamed(all, name, quality).name;
  assert.deepEqual(
    [1, 60, 60.001, 61, 100].map((quality) => named("a", quality)),
    ["a", "a", "a-high", "a-high", "a-high"],
  );
  assert.equal(named("a-high", 60), "a-high");
  assert.equal(named("b", 60), "b");
  assert.throws(() => named("a-high", 59), /^LapicError: the model a-high is for qualities 60 to 100: quality 59 needs/);
  assert.throws(() => named("b", 75), /^LapicError: the model b is for qualities 1 to 60: quality 75 needs another$/);
  assert.throws(() => named("c", 50), /^LapicError: there is no model c to encode with \(shipped: a-high, a, b\)$/);
});
