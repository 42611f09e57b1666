/** The files that the tests read: golden files, weights and packs. */
export declare const GOLDEN = "../codec/golden";
/** Why tests that need packs are skipped, or false. */
export declare const noPacks: string | boolean;
export declare function golden(name: string): Uint8Array;
export declare function goldenNames(): string[];
/** A file below the folder of the packs. */
export declare function readPack(name: string): Promise<Uint8Array>;
/** Whole numbers of the weights file whose metadata name this model id: docs/FORMAT.md, section 6. */
export declare function weights(id: string, tensor: string): Int32Array;
