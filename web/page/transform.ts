/** Where a picture lies in the window: `scale` screen pixels for each of its pixels, and the point (`x`, `y`) of the
 * picture, in its pixels, that is in the middle of the window. */
export interface Transform {
  scale: number;
  x: number;
  y: number;
}

export interface Size {
  width: number;
  height: number;
}

const LARGEST_SCALE = 32;

/** The whole picture in the window, never enlarged beyond its pixels. */
export function fitted(picture: Size, window: Size): Transform {
  const scale = Math.min(1, window.width / picture.width, window.height / picture.height);
  return { scale, x: picture.width / 2, y: picture.height / 2 };
}

/** The transform with its scale within limits and with the picture in view. */
export function limited(transform: Transform, picture: Size, window: Size): Transform {
  const smallest = Math.min(fitted(picture, window).scale, 1);
  const scale = Math.min(LARGEST_SCALE, Math.max(smallest, transform.scale));
  return {
    scale,
    x: limitedCentre(transform.x, picture.width, window.width / scale),
    y: limitedCentre(transform.y, picture.height, window.height / scale),
  };
}

/** Zoom by a factor; the point of the picture under (`x`, `y`), screen pixels from the window's middle, stays there. */
export function zoomed(transform: Transform, factor: number, x: number, y: number): Transform {
  const scale = Math.min(LARGEST_SCALE, transform.scale * factor);
  const shift = 1 / transform.scale - 1 / scale;
  return { scale, x: transform.x + x * shift, y: transform.y + y * shift };
}

/** Move the picture by screen pixels. */
export function moved(transform: Transform, x: number, y: number): Transform {
  return { ...transform, x: transform.x - x / transform.scale, y: transform.y - y / transform.scale };
}

function limitedCentre(centre: number, length: number, visible: number): number {
  return visible >= length ? length / 2 : Math.min(length - visible / 2, Math.max(visible / 2, centre));
}
