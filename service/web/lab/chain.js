// A chain of operations as one request, and the times of its steps.

import * as api from "./api.js";
import { fill, h } from "./dom.js";
import { time, tuple } from "./format.js";
import { tensorOf } from "./operand.js";

/** Runs `steps` on `operands` by one strategy, shows in `root` how long each step took, and returns the answer or null. */
export async function showChain(root, { operands, steps }, strategy) {
  const place = h("div", {}, h("p", { class: "note" }, "Running."));
  fill(root, h("h2", {}, "Chain ", h("span", { class: "title-note" }, "one request")), place);
  const tensors = operands.map((operand) => tensorOf(operand, "").json()).join(",");
  const fields = { steps, strategy, output: "none" };
  try {
    const answer = await api.chain(`{"operands":[${tensors}],${JSON.stringify(fields).slice(1)}`);
    fill(place, stepsTable(answer, steps));
    return answer;
  } catch (error) {
    if (!(error instanceof api.ProblemError)) throw error;
    fill(place, h("p", { class: "warning" }, `${error.message}.`));
    return null;
  }
}

function stepsTable(answer, steps) {
  const computed = answer.steps.reduce((sum, { compute_ms: ms }) => sum + ms, 0);
  const said = `One request took ${time(answer.timing.total_ms)} in the service, of which ${time(computed)} for its ${steps.length} steps. Round trip: ${time(answer.round_trip_ms)}.`;
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Times of the steps" },
    h(
      "table",
      { class: "steps" },
      h("caption", {}, said),
      h("thead", {}, h("tr", {}, ["step", "time", "operation", "result", "by"].map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, answer.steps.map((row, at) =>
        h("tr", {}, h("th", { scope: "row" }, row.name), h("td", { class: "number" }, time(row.compute_ms)), h("td", {}, [row.operation, steps[at].op].filter(Boolean).join(" ")), h("td", { class: "number" }, `${tuple(row.shape)} ${row.dtype}`), h("td", {}, row.strategy)))),
    ),
  );
}
