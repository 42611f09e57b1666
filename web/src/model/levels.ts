/** Tables with a row for each rate level, interpolated at fixed-point qualities: docs/FORMAT.md, section 1. */

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
