/** A file, picture or option that cannot be used. The message is one sentence for people: what is wrong and, where there
 * is something, what to do. */
export class LapicError extends Error {
  override name = "LapicError";
}
