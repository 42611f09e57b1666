import { find } from "./dom.ts";

/** Call `opened` with files that are dropped anywhere, chosen or pasted. */
export function listenForFiles(opened: (files: File[]) => void): void {
  const input = find<HTMLInputElement>("#files");
  for (const button of ["#choose", "#choose-first"]) find(button).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    take(input.files, opened);
    input.value = "";
  });
  document.addEventListener("paste", (event) => take(event.clipboardData?.files, opened));
  const { classList } = document.body;
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    classList.remove("dropping");
    take(event.dataTransfer?.files, opened);
  });
}

function take(files: FileList | null | undefined, opened: (files: File[]) => void): void {
  if (files?.length) opened([...files]);
}
