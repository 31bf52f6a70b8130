// Problems, shown at the field that caused them, with the hint as a button.

import { fill, h } from "./dom.js";
import { tuple } from "./format.js";
import { literalAt, remedies } from "./hints.js";
import { excerpt, TextError } from "./text.js";

/** Removes every problem from the page. */
export function clearProblems() {
  for (const place of document.querySelectorAll(".place:not(:empty)")) fill(place);
}

/**
 * Shows a problem document at the field that its first pointer names, or at `fallback`.
 * @param {object} problem @param {import("./state.js").Store} store @param {(object|null)[]} tensors
 */
export function showProblem(problem, store, tensors, fallback) {
  const pointers = (problem.errors ?? []).map((error) => error.pointer);
  if (problem.code === "unknown-strategy" || problem.code.startsWith("strategy-")) pointers.push("/strategy");
  if (problem.code.startsWith("device-")) pointers.push("/device");
  const place = pointers.map(placeOf).find(Boolean) ?? document.querySelector(`[data-place="${fallback}"]`);
  const shapes = tensors.map((tensor) => (tensor ? tuple(tensor.shape) : ""));
  const ways = remedies(problem, store.state, shapes);
  const found = literalAt(store.state, pointers[0] ?? "");
  fill(
    place,
    h(
      "div",
      { class: "problem", role: "alert", tabindex: "-1" },
      h("p", {}, h("strong", {}, problem.title), ": ", problem.detail, "."),
      found && caret(store.state.operands[found.index].text, found.start, found.end),
      (problem.errors ?? []).slice(1, 4).map((error) => h("p", { class: "note" }, `${error.pointer}: ${error.detail}`)),
      problem.hint && ways.length === 0 && h("p", { class: "hint-words" }, problem.hint),
      h(
        "p",
        { class: "ways" },
        ways.map(({ label, changes }) => h("button", { type: "button", class: "hint", on: { click: () => applyHint(store, changes, place.dataset.place) } }, label)),
        problem.type && h("a", { href: problem.type.slice(1), class: "note" }, `what ${problem.code} means`),
      ),
    ),
  );
}

/** Applies a hint to the state. Its button is removed, so the focus moves to the field of `pointer`. */
export function applyHint(store, changes, pointer) {
  store.set(changes, { visit: true });
  const target = document.querySelector(`[data-place="${pointer}"]`).closest(".card, .field, section");
  target.tabIndex = -1;
  target.focus({ preventScroll: true });
}

/** Moves the focus to the problem of the call. */
export function goToProblem() {
  document.querySelector(".problem")?.focus();
}

/** Shows the mistake in an operand that this page could not parse. */
export function showUnread(error, index, pointer, store) {
  const operand = store.state.operands[index];
  const select = () => {
    const area = document.querySelector(`[data-operand="${index}"] textarea`);
    area.focus();
    area.setSelectionRange(error.start, error.end);
  };
  fill(
    placeOf(pointer),
    h(
      "div",
      { class: "problem", role: "status", tabindex: "-1" },
      h("p", {}, error.message, "."),
      error instanceof TextError && operand.text.trim() !== "" && [caret(operand.text, error.start, error.end), operand.kind === "text" && h("p", { class: "ways" }, h("button", { type: "button", class: "quiet-button", on: { click: select } }, "Go there"))],
    ),
  );
}

/** A line of text with its mistake marked. */
function caret(text, start, end) {
  const { piece, column, width } = excerpt(text, start, end);
  return h("pre", { class: "caret" }, piece.slice(0, column), h("mark", {}, piece.slice(column, column + width) || " "), piece.slice(column + width));
}

/** The field of a pointer, or of the nearest parent that has one. */
function placeOf(pointer) {
  for (let path = pointer; path.length > 1; path = path.slice(0, path.lastIndexOf("/"))) {
    const place = document.querySelector(`[data-place="${path}"]`);
    if (place) return place;
  }
  return null;
}
