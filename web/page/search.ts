/** The trial of the highest whole quality that fits, by bisection; that of the lowest quality if none does. */
export async function largestWithin<Trial extends { fits: boolean }>(
  encode: (quality: number) => Promise<Trial>, lowest: number, highest: number,
): Promise<Trial> {
  let best: Trial | undefined;
  let low = lowest;
  let high = highest;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const trial = await encode(middle);
    if (trial.fits) {
      best = trial;
      low = middle + 1;
    } else high = middle - 1;
  }
  return best ?? encode(lowest);
}
