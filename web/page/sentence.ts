import { LapicError } from "../src/lapic.ts";

/** What was refused by the page itself, not by the codec. */
export class PageError extends Error {}

/** One sentence for any error. */
export function sentence(error: unknown): string {
  if (error instanceof LapicError || error instanceof PageError) return error.message;
  const text = error instanceof Error ? error.message : String(error);
  if (error instanceof RangeError || /memory|allocation/i.test(text)) return "not enough memory";
  return `${text} (unexpected: please report it)`;
}
