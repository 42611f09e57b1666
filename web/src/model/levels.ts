/** Tables with a row for each rate level, interpolated at fixed-point qualities: docs/FORMAT.md, section 1. */

import type { Qualities } from "../picture/qualities.ts";

const SPAN = 25344; // qualities 1 to 100 in fixed point
const ONE = 256;

/** Numbers by row and column. */
export interface Matrix {
  values: Float32Array | Int32Array;
  rows: number;
  columns: number;
}

/** The row between two rate levels at a quality 256..25600, times SPAN: exact for integers below 2^24. */
function scaledRow({ values, rows, columns }: Matrix, quality: number): Float64Array {
  const position = (quality - ONE) * (rows - 1);
  const row = Math.min(Math.floor(position / SPAN), rows - 2);
  const fraction = position - row * SPAN;
  return Float64Array.from({ length: columns }, (_, column) => {
    const at = row * columns + column;
    return values[at]! * (SPAN - fraction) + values[at + columns]! * fraction;
  });
}

/** The interpolated row, not rounded. */
export function rowAt(table: Matrix, quality: number): Float64Array {
  return scaledRow(table, quality).map((value) => value / SPAN);
}

/** The interpolated row, rounded to whole numbers, halves up. */
export function roundedRowAt(table: Matrix, quality: number): Float64Array {
  return scaledRow(table, quality).map((value) => Math.floor((2 * value + SPAN) / (2 * SPAN)));
}

/** Computes a table's row at a quality. */
export type RowAt = (table: Matrix, quality: number) => Float64Array;

/** Rows by channel and place. */
export interface Rows {
  /** (channels, height, width) */
  values: Float32Array;
  height: number;
  width: number;
}

/** A table's rows at qualities of places, each place `times` as often in both directions; one for all stays one. */
export function rowsAt(table: Matrix, qualities: Qualities, row: RowAt = rowAt, times = 1): Rows {
  const spread = qualities.values.length === 1 ? 1 : times;
  const width = spread * qualities.width;
  const places = spread * qualities.height * width;
  const values = new Float32Array(table.columns * places);
  const known = new Map<number, Float64Array>();
  for (let place = 0; place < places; place++) {
    const from = Math.floor(place / width / spread) * qualities.width + Math.floor((place % width) / spread);
    const quality = qualities.values[from]!;
    const found = known.get(quality) ?? row(table, quality);
    known.set(quality, found);
    for (let channel = 0; channel < table.columns; channel++) values[channel * places + place] = found[channel]!;
  }
  return { values, height: spread * qualities.height, width };
}

/** The rate level, 0..levels-1, nearest to a quality. */
export function nearestLevel(levels: number, quality: number): number {
  return Math.floor((2 * (quality - ONE) * (levels - 1) + SPAN) / (2 * SPAN));
}

/** A realistic decoder's row: those of the first half of the rows, and `realism` times those of the second half. */
export function realismRowAt(table: Matrix, quality: number, realism: number): Float64Array {
  const levels = table.rows / 2;
  const half = (from: number): Matrix => ({
    ...table,
    values: table.values.subarray(from * table.columns),
    rows: levels,
  });
  const added = rowAt(half(levels), quality);
  return rowAt(half(0), quality).map((value, column) => value + realism * added[column]!);
}
