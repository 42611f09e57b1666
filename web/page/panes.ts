import { find } from "./dom.ts";
import { formsOf, nameOf, type Form, type State } from "./state.ts";
import { bytesText } from "./units.ts";

/** Which form of the picture is on the left and which on the right, chosen in two lists. */
export class Panes {
  private readonly lists = [find<HTMLSelectElement>(".pane.left select"), find<HTMLSelectElement>(".pane.right select")];
  private chosen: Form[] = ["original", "lapic"];
  private names = "";

  constructor(changed: () => void) {
    this.lists.forEach((list, side) => {
      list.addEventListener("change", () => {
        this.chosen[side] = list.value as Form;
        changed();
      });
    });
  }

  /** The forms that are looked at: left and right, or one alone. */
  forms(state: State): Form[] {
    const present = formsOf(state);
    if (present.length < 3) return present;
    return this.chosen;
  }

  /** Show lists and sizes for a state. */
  show(state: State): void {
    const present = formsOf(state);
    const [left, right] = this.forms(state);
    const names = present.map((form) => nameOf(form, state));
    if (names.join() !== this.names) {
      this.names = names.join();
      for (const list of this.lists) list.replaceChildren(...present.map((form, i) => new Option(names[i], form)));
    }
    [left, right].forEach((form, side) => {
      const pane = this.lists[side]!.parentElement!;
      pane.hidden = !form || !state.versions.size;
      if (!form) return;
      const version = state.versions.get(form);
      this.lists[side]!.value = form;
      this.lists[side]!.disabled = present.length < 3;
      const size = version && present.length === 2 ? "" : version ? bytesText(version.file.size) : "…";
      pane.querySelector("output")!.textContent = size;
    });
  }
}
