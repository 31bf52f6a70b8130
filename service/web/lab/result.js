// The result of a run, to be seen, copied, saved or used as an operand.

import { shapeMark } from "./axes.js";
import { copy, fill, h, save } from "./dom.js";
import { element, elements } from "./format.js";
import { heatMap } from "./heat.js";
import { DTYPES, writeNpy } from "./npy.js";
import { stored, typed } from "./operand.js";
import { operandNames } from "./operations.js";
import { phasesBar } from "./phases.js";
import { bracketed, write } from "./text.js";

const COPIED = 2 ** 17; // elements up to which numbers are copied as text

/** Shows `answer` in `root`, with the letters of its axes. */
export function showResult(root, answer, letters, store) {
  const { result, values } = answer;
  const size = elements(result.shape);
  const said = h("span", { class: "note", role: "status" });
  const literals = () => Array.from(values, literal);
  const pairs = DTYPES[result.dtype].pairs;
  const json = () => (pairs ? JSON.stringify(values) : bracketed(result.shape, literals()));
  const name = (number) => operandNames(store.state)[number];
  fill(
    root,
    h("h2", {}, "Result ", h("span", { class: "title-note" }, shapeMark(result.shape, letters.result), " ", h("span", { class: "dtype" }, result.dtype), ` by ${answer.strategy} on ${answer.device}${answer.precision ? ` in ${answer.precision}` : ""}, came as ${answer.form}`)),
    answer.warnings.map((warning) => h("p", { class: "warning" }, warning)),
    size === 0 ? h("p", { class: "lone" }, "no elements") : result.shape.length === 0 ? h("p", { class: "lone" }, element(values[0], 10)) : heatMap({ shape: result.shape, values, dtype: result.dtype, letters: letters.result, name: "c" }),
    h(
      "div",
      { class: "actions" },
      size <= COPIED && size > 0 && h("button", { type: "button", class: "quiet-button", on: { click: (event) => copy(json(), event.target) } }, "Copy the numbers"),
      DTYPES[result.dtype].code && h("button", { type: "button", class: "quiet-button", on: { click: () => save(writeNpy(result.shape, result.dtype, bytesOf(answer) ?? new Uint8Array()), "result.npy") }, disabled: !bytesOf(answer) }, "Save as npy"),
      store.state.operands.map((_, index) => h("button", { type: "button", class: "quiet-button", on: { click: () => use(index) } }, `Use as ${name(index)}`)),
      said,
    ),
    phasesBar(answer.timing, answer.round_trip_ms),
  );

  function use(index) {
    const bytes = bytesOf(answer);
    const operand = bytes ? stored("an earlier result", result.dtype, result.shape, bytes) : typed(write(result.shape, literals()));
    store.set({ operands: store.state.operands.with(index, operand), view: "" }, { visit: true });
    said.textContent = `${name(index)} is the result now.`;
  }
}

/** Little-endian bytes of an answer; null for dtypes that JavaScript has no typed array for. */
function bytesOf({ result, values, bytes }) {
  if (bytes) return bytes;
  const { view, decode, pairs } = DTYPES[result.dtype];
  if (decode && result.dtype !== "bool") return null;
  const flat = pairs ? values.flat() : result.dtype === "int64" ? values.map(BigInt) : values;
  return new Uint8Array(view.from(flat).buffer);
}

function literal(value) {
  if (typeof value === "number" && !Number.isFinite(value)) return `"${value}"`;
  return Object.is(value, -0) ? "-0.0" : String(value);
}
