/** A model that is ready to decode and encode: its arrays and, loaded when first needed, its graphs. */

import * as ort from "onnxruntime-web/wasm";
import { LapicError } from "../error.ts";
import { makeTables } from "../format/tables.ts";
import type { Tables } from "../format/tables.ts";
import type { Matrix, Rows } from "./levels.ts";
import { checkManifest } from "./manifest.ts";
import type { Manifest } from "./manifest.ts";

/** Reads a file of a pack. */
export type ReadPart = (name: string) => Promise<Uint8Array>;

/** Inputs and outputs of a graph by name. */
export type Tensors = Record<string, ort.Tensor>;

export class Model {
  readonly manifest: Manifest;
  readonly tables: Tables;
  private readonly arrays: Uint8Array;
  private readonly read: ReadPart;
  private readonly graphs = new Map<string, Promise<ort.InferenceSession>>();

  private constructor(manifest: Manifest, arrays: Uint8Array, read: ReadPart) {
    this.manifest = manifest;
    this.arrays = arrays;
    this.read = read;
    const hyper = this.matrix("tables.hyper");
    const counts = (name: string) => this.matrix(name).values as Int32Array;
    const { L, Z } = manifest.sizes;
    this.tables = makeTables(hyper.values as Int32Array, L, Z, counts("tables.latent"), counts("tables.lengths"));
  }

  /** Throws LapicError if the pack cannot be used. */
  static async load(read: ReadPart): Promise<Model> {
    const manifest = JSON.parse(new TextDecoder().decode(await read("pack.json"))) as Manifest;
    checkManifest(manifest);
    const readWhole = wholeParts(manifest, read);
    return new Model(manifest, await readWhole("tables.bin"), readWhole);
  }

  /** Whether the pack has an array. */
  has(array: string): boolean {
    return array in this.manifest.arrays;
  }

  /** An array of numbers: the last axis as columns, all others as rows. */
  matrix(name: string): Matrix {
    const { dtype, shape, offset } = this.entry(name);
    const columns = shape[shape.length - 1]!;
    const rows = shape.reduce((product, edge) => product * edge, 1) / columns;
    const data = this.arrays.slice(offset, offset + 4 * rows * columns).buffer;
    return { values: dtype === "int32" ? new Int32Array(data) : new Float32Array(data), rows, columns };
  }

  /** An array of bytes. */
  bytes(name: string): Uint8Array {
    const { shape, offset } = this.entry(name);
    return this.arrays.slice(offset, offset + shape.reduce((product, edge) => product * edge, 1));
  }

  /** Run a graph, which is loaded first if it has not been yet. */
  async run(graph: string, inputs: Tensors): Promise<Tensors> {
    let session = this.graphs.get(graph);
    if (!session) {
      session = this.load(graph);
      this.graphs.set(graph, session);
      session.catch(() => this.graphs.delete(graph));
    }
    return (await (await session).run(inputs)) as Tensors;
  }

  /** Whether the pack has a graph. */
  hasGraph(graph: string): boolean {
    return `${graph}.onnx` in this.manifest.files;
  }

  private async load(graph: string): Promise<ort.InferenceSession> {
    return ort.InferenceSession.create(await this.read(`${graph}.onnx`), {
      executionProviders: ["wasm"],
      graphOptimizationLevel: "all",
      logSeverityLevel: 3,
    });
  }

  private entry(name: string): Manifest["arrays"][string] {
    const found = this.manifest.arrays[name];
    if (!found) throw new LapicError(`the pack of the model ${this.manifest.name} has no array ${name}`);
    return found;
  }
}

/** Reads files of a pack that have the sizes of its manifest. Throws LapicError for others. */
function wholeParts({ name, files }: Manifest, read: ReadPart): ReadPart {
  return async (part) => {
    const data = await read(part);
    if (data.length === files[part]?.bytes) return data;
    throw new LapicError(`the model ${name} is damaged: ${part} has ${data.length} bytes`);
  };
}

/** Load the runtime, if it is not there yet, by a graph that is not kept. */
export async function startRuntime(graph: Uint8Array): Promise<void> {
  const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
  await session.release();
}

/** A tensor of numbers with the axes given. */
export function tensor(values: Float32Array | Float64Array, ...shape: number[]): ort.Tensor {
  return new ort.Tensor("float32", values instanceof Float32Array ? values : new Float32Array(values), shape);
}

/** Rows of a level table as a tensor (1, channels, height, width). */
export function rowsTensor({ values, height, width }: Rows): ort.Tensor {
  return tensor(values, 1, values.length / (height * width), height, width);
}

/** A tensor of whole numbers with the axes given. */
export function wholeTensor(values: readonly number[], ...shape: number[]): ort.Tensor {
  return new ort.Tensor("int32", Int32Array.from(values), shape);
}

/** The numbers of an output. */
export function floats(outputs: Tensors, name: string): Float32Array {
  return outputs[name]!.data as Float32Array;
}

/** The bytes of an output. */
export function octets(outputs: Tensors, name: string): Uint8Array {
  return outputs[name]!.data as Uint8Array;
}
