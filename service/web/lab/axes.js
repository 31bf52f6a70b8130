// Letters and colours of axes, the same everywhere on the page.

import { h } from "./dom.js";

const SPARE = "lmnopqrstuvwxyz";
const FIXED = { i: 0, j: 1, k: 2, b: 3, l: 4, c: 5 };
const COLOURS = 6;

/** The colour of a letter as a number, from which class names for text and fills are made. */
export function colour(letter) {
  return FIXED[letter] ?? (letter.codePointAt(0) + 1) % COLOURS;
}

/** A letter in its colour. */
export function letterMark(letter) {
  return h("b", { class: `axis axis-${colour(letter)}` }, letter);
}

/** An equation with its letters in their colours. */
export function equationMarks(equation) {
  return [...equation].map((letter) => (/[A-Za-z]/.test(letter) ? letterMark(letter) : letter));
}

/** A shape whose sizes are beside their letters: (i 5 × k 784). */
export function shapeMark(shape, letters = [], gone = []) {
  if (shape.length === 0) return h("span", { class: "shape" }, "a single number");
  return h(
    "span",
    { class: "shape" },
    shape.map((size, axis) => [
      axis > 0 && h("span", { class: "times" }, " × "),
      h("span", { class: gone.includes(letters[axis]) ? "size gone" : "size" }, letters[axis] ? letterMark(letters[axis]) : null, String(size)),
    ]),
  );
}

/**
 * Letters of a call's axes: `{operands, result, summed}`; operands and result one letter an axis.
 * `shapes` are those of the operands, null where unknown; `rank` is the result's, where it is known.
 */
export function lettersOf(state, shapes, rank = null) {
  const ranks = shapes.map((shape) => shape?.length ?? 0);
  if (state.op === "matmul") return product(ranks);
  if (state.op === "einsum") return einstein(state.params.equation, ranks);
  if (state.op === "norm") return reduction(state, ranks[0]);
  return stretching(state, ranks, rank);
}

function product([left, right]) {
  const batch = (rank) => ["d", "c", "b"].slice(-(rank - 2) || 3).slice(0, Math.max(0, rank - 2));
  const pad = (rank) => Array.from({ length: Math.max(0, rank - 5) }, (_, i) => SPARE[i]).concat(batch(Math.min(rank, 5)));
  const a = left === 1 ? ["k"] : [...pad(left), "i", "k"];
  const b = right === 1 ? ["k"] : [...pad(right), "k", "j"];
  const lead = pad(Math.max(left, right));
  return { operands: [a, b], result: [...lead, ...(left > 1 ? ["i"] : []), ...(right > 1 ? ["j"] : [])], summed: ["k"] };
}

function einstein(equation, ranks) {
  const [left, right] = equation.replaceAll(" ", "").split("->");
  const spread = (term, rank) => {
    const [before, after] = term.split("...");
    if (after === undefined) return [...term];
    const rest = Math.max(0, rank - before.length - after.length);
    return [...before, ...Array.from({ length: rest }, (_, i) => `…${rest - i > 1 ? rest - i : ""}`), ...after];
  };
  const operands = left.split(",").map((term, index) => spread(term, ranks[index] ?? 0));
  const all = operands.flat();
  const dots = [...new Set(all.filter((letter) => letter.startsWith("…")))].sort().reverse();
  const implicit = [...dots, ...new Set(all.filter((letter) => !letter.startsWith("…") && all.indexOf(letter) === all.lastIndexOf(letter)))];
  const result = right === undefined ? [...implicit.slice(0, dots.length), ...implicit.slice(dots.length).sort()] : spread(right, right.replace("...", "").length + dots.length);
  return { operands, result, summed: [...new Set(all)].filter((letter) => !result.includes(letter)) };
}

/** Letters by position: i, j, k, ... */
function positional(rank) {
  return Array.from({ length: rank }, (_, i) => ["i", "j", "k", "l"][i] ?? SPARE[i - 3]);
}

function reduction(state, rank) {
  const letters = positional(rank);
  const dim = state.params.dim.match(/-?\d+/g)?.map((axis) => letters.at(Number(axis)));
  const { ord, kind, keepdim } = state.params;
  const summed = dim ?? (kind === "matrix" && ord !== "" ? letters.slice(-2) : letters);
  const kept = keepdim === "true" ? letters : letters.filter((letter) => !summed.includes(letter));
  return { operands: [letters], result: kept, summed };
}

/** For each axis of a view the axis of its operand, or null for one that None adds. */
export function viewAxes(view, rank) {
  const parts = (view?.trim() || "...").split(",").map((part) => part.trim());
  if (!parts.includes("...")) parts.push("...");
  const named = parts.filter((part) => part === ":").length;
  let next = 0;
  return parts.flatMap((part) => {
    if (part === "None") return [null];
    if (part === ":") return [next++];
    return Array.from({ length: Math.max(0, rank - named) }, () => next++);
  });
}

function stretching(state, ranks, rank) {
  const views = ranks.map((each, index) => viewAxes(state.views[index], each));
  const width = rank ?? Math.max(...views.map((view) => view.length));
  const letters = positional(width);
  const operands = views.map((view, index) => {
    const own = new Array(ranks[index]).fill("");
    view.forEach((axis, at) => {
      if (axis !== null && axis < own.length) own[axis] = letters[width - view.length + at] ?? "";
    });
    return own;
  });
  return { operands, result: letters, summed: [] };
}
