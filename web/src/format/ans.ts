/**
 * Asymmetric numeral system with a 64-bit state, 32-bit words and probabilities in units of 2^-24: the entropy coder of
 * docs/FORMAT.md, section 4. The state is kept as two halves of 32 bits, of which products with counts below 2^24 are
 * taken in parts that float64 holds exactly.
 */

const PRECISION = 24;
const MASK = 2 ** PRECISION - 1;
const LOOK_UP_SHIFT = 14; // the first step of the search looks at the upper ten bits
const WORD = 2 ** 32;

/** A probability table: counts that are at least 1 and sum to 2^24. */
export class Table {
  readonly counts: Int32Array;
  /** Where each symbol's interval begins, and 2^24. */
  readonly begins: Uint32Array;
  /** The symbol at the beginning of each 2^14 values. */
  readonly first: Uint16Array;

  constructor(counts: Int32Array) {
    this.counts = counts;
    this.begins = new Uint32Array(counts.length + 1);
    counts.forEach((count, symbol) => (this.begins[symbol + 1] = this.begins[symbol]! + count));
    this.first = new Uint16Array(2 ** (PRECISION - LOOK_UP_SHIFT));
    for (let slot = 0, symbol = 0; slot < this.first.length; slot++) {
      while (this.begins[symbol + 1]! <= slot << LOOK_UP_SHIFT) symbol++;
      this.first[slot] = symbol;
    }
  }
}

/** Decodes the words of one coder. */
export class AnsDecoder {
  private readonly words: Uint32Array;
  private left: number;
  private high = 0;
  private low = 0;

  /** @param words a stack whose top is the last word */
  constructor(words: Uint32Array) {
    this.words = words;
    this.left = words.length;
    if (this.left > 1) this.high = words[--this.left]!;
    if (this.left > 0) this.low = words[--this.left]!;
  }

  /** Whether the state is 0 and no word is left, as after the last symbol. */
  get empty(): boolean {
    return this.high === 0 && this.low === 0 && this.left === 0;
  }

  /** Decode one symbol for each place begin..end-1 of `out`, and write it there less `offset`. */
  decode(table: Table, offset: number, out: Int16Array, begin: number, end: number): void {
    const { counts, begins, first } = table;
    let { high, low, left } = this;
    for (let at = begin; at < end; at++) {
      const q = low & MASK;
      let symbol = first[q >>> LOOK_UP_SHIFT]!;
      while (begins[symbol + 1]! <= q) symbol++;
      const count = counts[symbol]!;
      // state = floor(state / 2^24) count + q - begins[symbol], floor(state / 2^24) being 2^8 high + low / 2^24
      const upper = count * (high >>> 16); // counts 2^24
      const lower = count * (high & 0xffff) * 256 + count * (low >>> PRECISION) + (q - begins[symbol]!); // below 2^49
      const sum = lower + (upper % 256) * (MASK + 1);
      low = sum >>> 0;
      high = (Math.floor(upper / 256) + Math.floor(sum / WORD)) >>> 0;
      if (high === 0 && left > 0) {
        high = low;
        low = this.words[--left]!;
      }
      out[at] = symbol - offset;
    }
    this.high = high;
    this.low = low;
    this.left = left;
  }
}

/** Encodes symbols, of which the last is decoded first. */
export class AnsEncoder {
  private words: number[] = [];
  private high = 0;
  private low = 0;

  /** Encode one symbol. */
  encode(table: Table, symbol: number): void {
    const count = table.counts[symbol]!;
    if (this.high >>> 8 >= count) {
      this.words.push(this.low);
      this.low = this.high;
      this.high = 0;
    }
    // Long division of the state by count < 2^24 with digits of 32, 16 and 16 bits: each dividend is below 2^40.
    const { high, low } = this;
    const first = Math.floor(high / count); // below 2^8
    const middle = (high - first * count) * 65536 + (low >>> 16);
    const second = Math.floor(middle / count);
    const last = (middle - second * count) * 65536 + (low & 0xffff);
    const third = Math.floor(last / count);
    const quotient = (second * 65536 + third) >>> 0; // without the digit of 32 bits
    const remainder = last - third * count;
    this.high = ((first << PRECISION) | (quotient >>> 8)) >>> 0;
    this.low = ((quotient << PRECISION) | (table.begins[symbol]! + remainder)) >>> 0;
  }

  /** The words of all symbols so far. */
  finished(): Uint32Array {
    const state = this.high ? [this.low, this.high] : this.low ? [this.low] : [];
    return Uint32Array.from([...this.words, ...state]);
  }
}
