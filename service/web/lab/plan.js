// The plan of a call: result, work, memory, and the call as loops.

import { equationMarks, letterMark, shapeMark } from "./axes.js";
import { fill, h } from "./dom.js";
import { bytes, count, time } from "./format.js";
import { applyHint } from "./problems.js";

/** Shows `plan` in `root`; null if the call has none. */
export function showPlan(root, plan, letters, store) {
  if (!plan) {
    fill(root, h("p", { class: "note" }, "No plan: the call is not valid."));
    return;
  }
  const { result, work } = plan;
  fill(
    root,
    h(
      "dl",
      { class: "facts" },
      fact("Result", shapeMark(result.shape, letters.result), " ", h("span", { class: "dtype" }, result.dtype)),
      fact("Work", `${count(work.multiply_adds)} multiply-adds`),
      fact("Memory", `${bytes(work.peak_bytes)}`, h("span", { class: "note" }, work.peak_elements > 0 ? ` with an intermediate of ${count(work.peak_elements)} elements` : "")),
      fact("In torch", h("code", {}, coloured(plan.reproduce))),
    ),
    !plan.accepted && h("p", { class: "refused", role: "status" }, h("strong", {}, "Would be refused: "), plan.reason, ". ", quickest(plan, store)),
  );
}

/** A button that selects the fastest strategy that would be accepted, or the precision that everything has. */
function quickest({ strategies }, store) {
  const able = strategies.filter((each) => each.accepted).sort((a, b) => a.estimated_ms - b.estimated_ms);
  const again = (words, changes, pointer) => h("button", { type: "button", class: "hint", on: { click: () => applyHint(store, changes, pointer) } }, words);
  if (able.length === 0) return store.state.precision !== "ieee" && again("Use ieee", { precision: "ieee" }, "/precision");
  const [{ strategy, estimated_ms: ms }] = able;
  return again(`Use ${strategy}, about ${time(ms)}`, { strategy }, "/strategy");
}

/** A line of torch, with the letters of an equation in their colours. */
function coloured(line) {
  if (!line.startsWith("torch.einsum")) return line;
  const [before, equation, after] = line.split('"');
  return [`${before}"`, equationMarks(equation), `"${after}`];
}

function fact(name, ...value) {
  return h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, value));
}

/** The size of each letter; undefined for one that the operands do not have. */
export function axisSizes(letters, shapes) {
  const sizes = new Map();
  letters.operands.forEach((own, index) => own.forEach((letter, axis) => {
    if ((shapes[index][axis] ?? 1) !== 1 || !sizes.has(letter)) sizes.set(letter, shapes[index][axis]);
  }));
  return sizes;
}

/** A product or an equation as loops, in the colours of its axes; null for other calls. */
export function loops(state, shapes, letters) {
  if (!["matmul", "einsum"].includes(state.op) || shapes.some((shape) => !shape)) return null;
  const sizes = axisSizes(letters, shapes);
  if ([...sizes.values()].some((size) => size === undefined)) return null;
  const summed = letters.summed.filter((letter) => sizes.has(letter));
  const names = state.op === "matmul" ? ["a", "b"] : shapes.map((_, index) => `x${index}`);
  const loop = (letter, depth) => ["    ".repeat(depth), h("span", { class: "keyword" }, "for "), letterMark(letter), h("span", { class: "keyword" }, " in "), `range(${sizes.get(letter)}):\n`];
  const item = (name, own) => [name, own.length > 0 && ["[", own.map((letter, at) => [at > 0 && ",", letterMark(letter)]), "]"]];
  const product = names.map((name, index) => [index > 0 && " * ", item(name, letters.operands[index])]);
  return h(
    "figure",
    { class: "loops" },
    h("figcaption", {}, "The same call as loops", h("span", { class: "note" }, summed.length > 0 ? [": ", summed.map(letterMark), summed.length > 1 ? " are summed, so the result does not have them" : " is summed, so the result does not have it"] : ": nothing is summed")),
    h(
      "pre",
      { tabindex: "0", "aria-label": "the loops" },
      [...letters.result, ...summed].map(loop),
      "    ".repeat(letters.result.length + summed.length),
      item("c", letters.result),
      summed.length > 0 ? " += " : " = ",
      product,
    ),
  );
}
