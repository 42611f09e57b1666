/** The models of this build: their list, and those that are loaded. */

import { LapicError } from "./error.ts";
import { findModel, modelFor, modelNamed } from "./model/manifest.ts";
import type { Listed, Tune } from "./model/manifest.ts";
import { Model, startRuntime } from "./model/model.ts";
import type { ReadPart } from "./model/model.ts";

export class Library {
  private list: Promise<Listed[]> | undefined;
  private readonly loaded = new Map<string, Promise<Model>>();
  private readonly read: ReadPart;

  /** @param read reads a file below the folder of the packs */
  constructor(read: ReadPart) {
    this.read = read;
  }

  /** The models of this build. */
  models(): Promise<Listed[]> {
    this.list ??= this.read("packs.json").then((data) => JSON.parse(new TextDecoder().decode(data)) as Listed[]);
    this.list.catch(() => (this.list = undefined));
    return this.list;
  }

  /** Start the runtime, by the smallest graph of a pack: no weights are read. */
  async prepare(): Promise<undefined> {
    const [first] = await this.models();
    if (first) await startRuntime(await this.read(`${first.folder}/filter.onnx`));
  }

  /** The model with an id. Throws LapicError if there is none. */
  async byId(id: string): Promise<Model> {
    return this.load(findModel(await this.models(), id));
  }

  /** The model that encodes at a quality 1 to 100. */
  async forQuality(quality: number, tune: Tune): Promise<Model> {
    return this.load(modelFor(await this.models(), quality, tune));
  }

  /** The model that a name means at a quality 1 to 100. Throws LapicError if there is none for it. */
  async byName(name: string, quality: number): Promise<Model> {
    return this.load(modelNamed(await this.models(), name, quality));
  }

  private load(listed: Listed): Promise<Model> {
    let model = this.loaded.get(listed.id);
    if (!model) {
      model = Model.load((name) => this.read(`${listed.folder}/${name}`));
      this.loaded.set(listed.id, model);
      model.catch(() => this.loaded.delete(listed.id));
    }
    return model;
  }
}

/** Reads files below a folder by fetch. Throws LapicError if one cannot be read. */
export function fetchFrom(folder: URL): ReadPart {
  return async (name) => {
    const response = await fetch(new URL(name, folder)).catch(() => undefined);
    if (!response?.ok) {
      const reason = response ? `the server says ${response.status}` : "it cannot be reached";
      throw new LapicError(`the model cannot be loaded: ${name}: ${reason}`);
    }
    const body = await response.arrayBuffer().catch(() => {
      throw new LapicError(`the model cannot be loaded: ${name}: the connection broke`);
    });
    return new Uint8Array(body);
  };
}
