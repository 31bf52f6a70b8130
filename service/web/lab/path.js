// The steps of a contraction, each with its equation, its shape and its share of the work.

import { equationMarks } from "./axes.js";
import { h } from "./dom.js";
import { count, tuple } from "./format.js";

/** The path of a plan as a list of steps. `positions` are those in the remaining operands, results last. */
export function pathSteps(path, names) {
  const most = Math.max(...path.map((step) => step.multiply_adds), 1);
  const left = [...names];
  const total = path.reduce((sum, step) => sum + step.multiply_adds, 0);
  const steps = path.map((step, index) => {
    const taken = step.positions.map((position) => left[position]);
    for (const position of step.positions.toSorted((a, b) => b - a)) left.splice(position, 1);
    const made = index === path.length - 1 ? "c" : `t${index + 1}`;
    left.push(made);
    const bar = h("i", { class: "work-bar" });
    bar.style.width = `${Math.max(0.5, (100 * step.multiply_adds) / most)}%`;
    return h(
      "li",
      {},
      h("span", { class: "step-what" }, taken.join(" , "), " → ", h("b", {}, made), " ", h("span", { class: "note" }, tuple(step.shape))),
      h("code", {}, equationMarks(step.equation)),
      h("span", { class: "step-work" }, bar),
      h("span", { class: "number" }, count(step.multiply_adds)),
    );
  });
  return h(
    "figure",
    { class: "path" },
    h("figcaption", {}, `The path: ${path.length} ${path.length === 1 ? "step" : "steps"}`, h("span", { class: "note" }, `, ${count(total)} multiply-adds in all`)),
    h("ol", {}, steps),
  );
}
