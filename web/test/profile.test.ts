import assert from "node:assert/strict";
import { test } from "node:test";
import { blankPixels } from "../src/picture/planes.ts";
import { toSrgb } from "../src/picture/profile.ts";

const SHOWN = 7; // what the browser below makes of every channel

/** A browser that notes the PNG files which it opens, and shows one colour. */
function withBrowser(): { sizes: number[][]; types: number[] } {
  const heard = { sizes: [] as number[][], types: [] as number[] };
  class Canvas {
    constructor(
      readonly width: number,
      readonly height: number,
    ) {}
    getContext() {
      return {
        drawImage: () => undefined,
        getImageData: () => ({ data: new Uint8ClampedArray(4 * this.width * this.height).fill(SHOWN) }),
      };
    }
  }
  const createImageBitmap = async (file: Blob) => {
    const view = new DataView(await file.arrayBuffer());
    heard.sizes.push([view.getUint32(16), view.getUint32(20)]);
    heard.types.push(view.getUint8(25));
    return { close: () => undefined };
  };
  Object.assign(globalThis, { createImageBitmap, OffscreenCanvas: Canvas });
  return heard;
}

const profileOf = (space: string) => new TextEncoder().encode(" ".repeat(16) + space);
const noPause = async () => undefined;

test("a large picture is converted in parts that a canvas holds, and ends between them", async () => {
  const heard = withBrowser();
  const pixels = blankPixels(5000, 3)!;
  pixels.data.fill(255);
  await toSrgb(pixels, profileOf("RGB "), false, noPause);
  assert.deepEqual(heard.sizes, [[2048, 3], [2048, 3], [904, 3]]);
  assert.ok(pixels.data.every((value, at) => value === (at % 4 === 3 ? 255 : SHOWN)));

  const cancelled = withBrowser();
  const stop = async () => {
    throw new Error("cancelled");
  };
  await assert.rejects(toSrgb(blankPixels(1, 70_000)!, profileOf("RGB "), false, stop), /cancelled/);
  assert.deepEqual(cancelled.sizes, [[1, 2048]]);
});

test("a file of one channel is for profiles of grey alone", async () => {
  const cases = [["GRAY", true, 0], ["RGB ", true, 2], ["RGB ", false, 2], ["", true, 2]] as const;
  for (const [space, grey, type] of cases) {
    const heard = withBrowser();
    await toSrgb(blankPixels(2, 2)!, profileOf(space), grey, noPause);
    assert.deepEqual(heard.types, [type]);
  }
});
