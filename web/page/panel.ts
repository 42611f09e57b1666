import { find } from "./dom.ts";
import { renamed } from "./entry.ts";
import { factsOf } from "./facts.ts";
import { formsOf, hasFile, hasPicture, HIGHEST, nameOf, type Encoder, type Form, type State } from "./state.ts";
import { allBytesText, bytesText, secondsText } from "./units.ts";

/** What the panel's controls ask for. */
export interface PanelActions {
  setQuality(quality: number): void;
  setEncoder(encoder: Encoder): void;
  setRealism(realism: number): void;
  save(): void;
  savePicture(): void;
}

const PAUSE = 200; // ms after the last move of a slider, before work begins

/** Controls, sizes, buttons and facts beside the picture. */
export class Panel {
  private readonly root = find("#panel");
  private readonly quality = find<HTMLInputElement>("#quality");
  private readonly encoder = find<HTMLSelectElement>("#encoder");
  private readonly realism = find<HTMLInputElement>("#realism");
  /** The timers of sliders that moved a moment ago. */
  private readonly waiting = new Map<HTMLInputElement, number>();

  constructor(actions: PanelActions) {
    this.listen(this.quality, (value) => actions.setQuality(value));
    this.listen(this.realism, (value) => actions.setRealism(value));
    this.encoder.addEventListener("change", () => actions.setEncoder(this.encoder.value as Encoder));
    find("#save").addEventListener("click", () => actions.save());
    find("#save-picture").addEventListener("click", () => actions.savePicture());
  }

  /** Show a state. */
  show(state: State): void {
    const { entry, info, versions, error } = state;
    const lapic = versions.get("lapic");
    this.root.hidden = !entry || (!versions.size && (error !== null || !info));
    for (const control of ["#quality-control", "#encoder-control"]) find(control).hidden = !entry || entry.isLapic;
    find("#realism-control").hidden = info !== null && !info.realism;
    this.encoder.value = state.encoder;
    this.quality.max = String(HIGHEST[state.encoder]);
    if (!this.waiting.has(this.quality)) this.quality.value = String(state.quality);
    if (!this.waiting.has(this.realism)) this.realism.value = String(state.realism);
    this.showValues();
    find("#quality-cost").textContent = lapic ? costText(lapic.file.size, lapic.encoding, "to encode") : "";
    find("#realism-cost").textContent = lapic?.decoding === undefined ? "" : `${secondsText(lapic.decoding)} to decode`;
    this.showSizes(state);
    this.showButtons(state);
    const checksum = find("#checksum");
    checksum.hidden = !lapic || !info;
    checksum.textContent = info ? `Checksums match (${info.tiles} tile${info.tiles === 1 ? "" : "s"})` : "";
    const rows = info && entry ? factsOf(info, !entry.isLapic) : [];
    find("#panel dl").replaceChildren(...rows.flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
  }

  private listen(slider: HTMLInputElement, act: (value: number) => void): void {
    slider.addEventListener("input", () => {
      this.showValues();
      clearTimeout(this.waiting.get(slider));
      const settle = () => {
        this.waiting.delete(slider);
        act(slider.valueAsNumber);
      };
      this.waiting.set(slider, window.setTimeout(settle, PAUSE));
      this.disableButtons();
    });
  }

  private showValues(): void {
    find("#quality-value").textContent = this.quality.value;
    find("#realism-value").textContent = this.realism.valueAsNumber.toFixed(2).replace(/\.?0+$/, "");
  }

  private showSizes(state: State): void {
    const present = formsOf(state).filter((form) => form !== "faithful" && state.versions.has(form));
    const table = find<HTMLTableElement>("#panel table");
    table.hidden = present.length < 2;
    const hasPeers = present.some((form) => state.versions.get(form)!.fits !== undefined);
    table.caption!.textContent = hasPeers ? "Others within lapic’s bytes" : "";
    table.tBodies[0]!.replaceChildren(...present.map((form) => sizeRow(form, state)));
  }

  private showButtons(state: State): void {
    const { entry } = state;
    const [save, savePicture] = [find<HTMLButtonElement>("#save"), find<HTMLButtonElement>("#save-picture")];
    save.disabled = !hasFile(state);
    savePicture.disabled = !hasPicture(state);
    this.disableButtons();
    save.textContent = entry ? `Save ${renamed(shortened(entry.name), "lapic")}` : "";
    save.hidden = entry?.isLapic ?? true;
    savePicture.classList.toggle("primary", save.hidden);
  }

  /** What a slider that moved a moment ago asks for is not there yet. */
  private disableButtons(): void {
    if (this.waiting.has(this.quality)) find<HTMLButtonElement>("#save").disabled = true;
    if (this.waiting.size) find<HTMLButtonElement>("#save-picture").disabled = true;
  }
}

function sizeRow(form: Form, state: State): HTMLTableRowElement {
  const version = state.versions.get(form)!;
  const setting = version.quality;
  const row = document.createElement("tr");
  const name = element("th", nameOf(form, state));
  name.scope = "row";
  const size = element("td", (version.fits === false ? "at least " : "") + bytesText(version.file.size));
  size.title = allBytesText(version.file.size);
  row.append(
    name,
    size,
    element("td", setting === undefined ? "" : String(Math.round(100 * setting) / 100)),
    element("td", version.encoding === undefined ? "" : secondsText(version.encoding)),
  );
  return row;
}

function costText(bytes: number, seconds: number | undefined, what: string): string {
  return bytesText(bytes) + (seconds === undefined ? "" : `, ${secondsText(seconds)} ${what}`);
}

function shortened(name: string): string {
  return name.length > 28 ? `${name.slice(0, 12)}…${name.slice(-12)}` : name;
}

function element<Name extends "dt" | "dd" | "td" | "th">(name: Name, text: string): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
