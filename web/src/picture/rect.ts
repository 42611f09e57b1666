/**
 * Rectangles: how a large picture is computed piece by piece without seams. Coordinates count latents (16 pixels). Each
 * piece is computed from a larger region, its halo included, as far as the networks see, and then cut out.
 */

export const LATENT = 16;

/** Rows top..bottom-1 and columns left..right-1. */
export class Rect {
  constructor(
    readonly top: number,
    readonly left: number,
    readonly bottom: number,
    readonly right: number,
  ) {}

  get height(): number {
    return this.bottom - this.top;
  }

  get width(): number {
    return this.right - this.left;
  }

  /** This rectangle with `margin` on every side, as far as `bounds` reach. */
  grow(margin: number, bounds: Rect): Rect {
    return new Rect(
      Math.max(this.top - margin, bounds.top),
      Math.max(this.left - margin, bounds.left),
      Math.min(this.bottom + margin, bounds.bottom),
      Math.min(this.right + margin, bounds.right),
    );
  }

  /** The same rectangle in units `factor` times finer. */
  times(factor: number): Rect {
    return new Rect(this.top * factor, this.left * factor, this.bottom * factor, this.right * factor);
  }

  /** Whether the two have a latent in common. */
  overlaps(other: Rect): boolean {
    return this.top < other.bottom && other.top < this.bottom && this.left < other.right && other.left < this.right;
  }

  /** Squares of `edge` (smaller at the right and lower end) that cover this rectangle, in raster order. */
  cut(edge: number): Rect[] {
    const out = [];
    for (let top = this.top; top < this.bottom; top += edge) {
      for (let left = this.left; left < this.right; left += edge) {
        out.push(new Rect(top, left, Math.min(top + edge, this.bottom), Math.min(left + edge, this.right)));
      }
    }
    return out;
  }
}

/** Copy what two arrays (channels, h, w) of rectangles have in common from `part` to `out`. */
export function copyShared(part: Float32Array, rect: Rect, out: Float32Array, area: Rect, channels: number): void {
  if (!rect.overlaps(area)) return;
  const common = rect.grow(0, area);
  for (let channel = 0; channel < channels; channel++) {
    for (let row = common.top; row < common.bottom; row++) {
      const from = (channel * rect.height + row - rect.top) * rect.width + common.left - rect.left;
      const to = (channel * area.height + row - area.top) * area.width + common.left - area.left;
      out.set(part.subarray(from, from + common.width), to);
    }
  }
}

/** The latents of a picture of this size in pixels. */
export function latentBounds(width: number, height: number): Rect {
  return new Rect(0, 0, Math.ceil(height / LATENT), Math.ceil(width / LATENT));
}

/** Edge in latents of the tiles of a picture whose header says `tile` pixels, 0 for one tile. */
export function tileEdge(tile: number, bounds: Rect): number {
  return tile / LATENT || Math.max(bounds.height, bounds.width);
}

const WHOLE = (1280 * 1280) / LATENT ** 2; // pictures up to this are computed in one piece; 100 bytes a pixel at a time
const PIECE = 64;

/** Edge in latents of the squares of an area that a network computes at a time: all of it if it is small. */
export function pieceEdge(area: Rect): number {
  return area.height * area.width <= WHOLE ? Math.max(area.height, area.width) : PIECE;
}
