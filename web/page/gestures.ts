/** What gestures ask for; all lengths are CSS pixels, points are counted from the middle of the element. */
export interface Actions {
  move(x: number, y: number): void;
  zoom(factor: number, x: number, y: number): void;
  /** A double click or double tap. */
  toggle(x: number, y: number): void;
}

interface Point {
  x: number;
  y: number;
}

const WHEEL_SPEED = 0.002; // natural logarithm of the zoom for each CSS pixel of a wheel
const LINE = 16; // CSS pixels of a wheel's line

/** Turns dragging, pinching, wheels and double clicks on an element into actions. */
export class Gestures {
  private readonly pointers = new Map<number, Point>();

  constructor(
    private readonly element: HTMLElement,
    private readonly actions: Actions,
  ) {
    element.addEventListener("pointerdown", (event) => this.down(event));
    element.addEventListener("pointermove", (event) => this.moved(event));
    for (const end of ["pointerup", "pointercancel"] as const) {
      element.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    element.addEventListener("dblclick", (event) => {
      const { x, y } = this.fromMiddle(event.clientX, event.clientY);
      actions.toggle(x, y);
    });
  }

  private down(event: PointerEvent): void {
    if (event.button !== 0) return;
    this.element.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  }

  private moved(event: PointerEvent): void {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, now);
    if (!other) {
      this.actions.move(now.x - before.x, now.y - before.y);
      return;
    }
    const factor = distance(now, other) / Math.max(1, distance(before, other));
    const middle = this.fromMiddle((now.x + other.x) / 2, (now.y + other.y) / 2);
    this.actions.move((now.x - before.x) / 2, (now.y - before.y) / 2);
    this.actions.zoom(factor, middle.x, middle.y);
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    const pixels = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY : event.deltaY * LINE;
    const { x, y } = this.fromMiddle(event.clientX, event.clientY);
    this.actions.zoom(Math.exp(-pixels * WHEEL_SPEED * (event.ctrlKey ? 4 : 1)), x, y);
  }

  private fromMiddle(x: number, y: number): Point {
    const box = this.element.getBoundingClientRect();
    return { x: x - box.left - box.width / 2, y: y - box.top - box.height / 2 };
  }
}

function distance(a: Point, b: Point): number {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
