/** Globals of browsers that tests stand in for. */

const before = new Map<string, PropertyDescriptor | undefined>();

/** Let a global be another until `restore`. */
export function replaced(name: string, value: unknown): void {
  if (!before.has(name)) before.set(name, Object.getOwnPropertyDescriptor(globalThis, name));
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

/** Give all globals back. */
export function restore(): void {
  for (const [name, descriptor] of before) {
    Reflect.deleteProperty(globalThis, name);
    if (descriptor) Object.defineProperty(globalThis, name, descriptor);
  }
  before.clear();
}
