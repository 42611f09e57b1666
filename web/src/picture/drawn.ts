/** Telling drawn pictures, such as text, line art, screenshots and patterns, from photos: docs/EFFORT.md. */

import type { Pixels } from "./planes.ts";

const SEEN = 1 << 19; // pixels that are looked at, in rows spread over the picture
const GENTLE = 8; // grey levels that neighbours differ by at most where light falls off
const MOST_GENTLE = 0.12; // of the neighbours of a drawn picture
const LEAST_EQUAL = 0.45; // of a drawn picture's neighbours in one direction

/**
 * Whether a picture is drawn: in one of four directions nearly half of its pixels equal the next one, and where
 * neighbours differ they differ clearly. As `lapic encode` tells it.
 */
export function isDrawn({ data, width, height }: Pixels): boolean {
  if (height < 2 || width < 3) return false;
  const step = Math.max(1, Math.floor((width * height) / SEEN));
  const below = 4 * width;
  const others = [-4, below, below - 4, below + 4]; // left, below and both diagonals
  const equal = others.map(() => 0);
  let gentle = 0;
  let seen = 0;
  for (let row = 0; row < height - 1; row += step) {
    for (let column = 1; column < width - 1; column++, seen++) {
      const at = 4 * (row * width + column);
      others.forEach((other, direction) => {
        const difference = largestDifference(data, at, at + other);
        if (difference === 0) equal[direction]!++;
        else if (direction < 2 && difference <= GENTLE) gentle++;
      });
    }
  }
  return Math.max(...equal) >= LEAST_EQUAL * seen && gentle <= MOST_GENTLE * 2 * seen;
}

/** The largest difference of two pixels' colours. */
function largestDifference(data: Uint8ClampedArray, one: number, other: number): number {
  let largest = 0;
  for (let channel = 0; channel < 3; channel++) {
    largest = Math.max(largest, Math.abs(data[one + channel]! - data[other + channel]!));
  }
  return largest;
}
