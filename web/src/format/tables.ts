/** The probability tables of a model. */

import { Table } from "./ans.ts";

/** Tables by rate level and channel of the hyper-latent, and by scale index of the latents. */
export interface Tables {
  /** [level][channel], for the values -63..63. */
  hyper: Table[][];
  /** [scale index], for the values -w..w and, last, "escape". */
  latent: Table[];
}

/**
 * @param hyper counts of L levels, Z channels and 127 values
 * @param latent the tables of all scale indices one after another, of which `lengths` holds the lengths
 */
export function makeTables(
  hyper: Int32Array,
  levels: number,
  channels: number,
  latent: Int32Array,
  lengths: Int32Array,
): Tables {
  const values = hyper.length / (levels * channels);
  const row = (at: number) => new Table(hyper.subarray(at * values, (at + 1) * values));
  let end = 0;
  return {
    hyper: Array.from({ length: levels }, (_, level) =>
      Array.from({ length: channels }, (_, channel) => row(level * channels + channel)),
    ),
    latent: Array.from(lengths, (length) => new Table(latent.subarray(end, (end += length)))),
  };
}

/** w of a table for -w..w and "escape". */
export function halfWidth(table: Table): number {
  return table.counts.length / 2 - 1;
}
