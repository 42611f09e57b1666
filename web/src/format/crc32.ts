/** CRC-32 of zlib and PNG, four bytes at a time. */

const TABLES = makeTables(4);

/** Row 0 holds the remainders of single bytes, each further row those of a byte that more zero bytes follow. */
function makeTables(rows: number): Uint32Array[] {
  const first = new Uint32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
    first[byte] = value;
  }
  const tables = [first];
  while (tables.length < rows) {
    const last = tables[tables.length - 1]!;
    tables.push(last.map((value) => first[value & 255]! ^ (value >>> 8)));
  }
  return tables;
}

/** The checksum of `data`; `before` is that of the bytes before them. */
export function crc32(data: Uint8Array, before = 0): number {
  const [zero, one, two, three] = TABLES as [Uint32Array, Uint32Array, Uint32Array, Uint32Array];
  let value = ~before;
  let at = 0;
  for (const fours = data.length & ~3; at < fours; at += 4) {
    value ^= data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24);
    value = three[value & 255]! ^ two[(value >>> 8) & 255]! ^ one[(value >>> 16) & 255]! ^ zero[value >>> 24]!;
  }
  for (; at < data.length; at++) value = zero[(value ^ data[at]!) & 255]! ^ (value >>> 8);
  return ~value >>> 0;
}
