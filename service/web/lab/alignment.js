// The alignment of operands by axis from the right: stored elements are solid, repeated ones are ghosts.

import { colour, letterMark } from "./axes.js";
import { h } from "./dom.js";
import { bytes, element, tuple } from "./format.js";

const SHOWN = 5; // cells of an axis that are drawn one by one

/** The drawing of a plan's or an answer's `broadcast` block. */
export function alignmentTable(block, names, letters, views = []) {
  const axes = block.axes;
  return h(
    "figure",
    { class: "alignment" },
    h("figcaption", {}, "Aligned from the right", h("span", { class: "note" }, ": sizes must be equal, or 1 and then stretched")),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "alignment of the axes" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, "operand")), axes.map((axis, at) => h("th", { scope: "col" }, letterMark(letters[at] ?? "·"), h("span", { class: "note" }, ` axis \u2212${-axis.axis}`))), h("th", { scope: "col" }, "strides"), h("th", { scope: "col" }, "bytes"))),
        h(
          "tbody",
          {},
          block.operands.map((operand, index) => row(operand, index)),
          block.shape && h("tr", { class: "total" }, h("th", { scope: "row" }, "result ", h("span", { class: "note" }, tuple(block.shape))), axes.map((axis, at) => h("td", {}, strip(axis.size, "kept", letters[at]), h("span", { class: "role" }, String(axis.size)))), h("td"), h("td")),
        ),
      ),
    ),
  );

  function row(operand, index) {
    const view = views[index]?.trim();
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, names[index], view ? `[${view}]` : "", " ", h("span", { class: "note" }, tuple(operand.shape))),
      axes.map((axis, at) => {
        const { size, role } = axis.operands[index];
        const words = { kept: String(size), stretched: `1 → ${axis.size}`, added: `new → ${axis.size}`, clash: `${size}, not ${axis.size}` };
        return h("td", { class: role }, strip(role === "clash" ? size : axis.size, role, letters[at]), h("span", { class: "role" }, words[role]));
      }),
      h("td", { class: "number" }, operand.strides && strides(operand)),
      h("td", { class: "number" }, operand.strides && operand.stored_bytes === operand.apparent_bytes ? bytes(operand.stored_bytes) : operand.strides && [bytes(operand.stored_bytes), h("span", { class: "note" }, ` look like ${bytes(operand.apparent_bytes)}`)]),
    );
  }
}

/** The same block for shapes that do not fit: an axis that does not fit has the role `clash`. */
export function clashing(shapes) {
  const rank = Math.max(...shapes.map((shape) => shape.length));
  const axes = Array.from({ length: rank }, (_, at) => {
    const sizes = shapes.map((shape) => shape.at(at - rank));
    const size = sizes.find((each, index) => each !== undefined && each !== 1 && shapes[index].length >= rank - at) ?? 1;
    const roleOf = (each) => (each === undefined ? "added" : each === size ? "kept" : each === 1 ? "stretched" : "clash");
    return { axis: at - rank, size, operands: sizes.map((each) => ({ size: each ?? null, role: roleOf(each) })) };
  });
  return { shape: null, axes, operands: shapes.map((shape) => ({ shape })) };
}

/** Strides before and after expansion; a repeated axis has stride 0. */
function strides({ strides: before, expanded_strides: after }) {
  const marked = after.map((stride, at) => [at > 0 && ", ", stride === 0 ? h("b", { class: "zero" }, "0") : String(stride)]);
  const same = before.length === after.length && before.every((stride, at) => stride === after[at]);
  return [!same && [tuple(before), " → "], "(", marked, after.length === 1 && ",", ")"];
}

/** The cells of one axis: one solid cell, and ghosts if it is stretched. */
function strip(size, role, letter) {
  const cells = Math.min(size, SHOWN);
  const paint = `cell fill-${colour(letter ?? "i")}`;
  const parts = Array.from({ length: cells }, (_, at) => {
    const ghost = role === "added" || (role === "stretched" && at > 0);
    return h("i", { class: ghost ? `${paint} ghost` : paint });
  });
  if (size > SHOWN) parts.splice(SHOWN - 1, 0, h("span", { class: "dots" }, "…"));
  return h("span", { class: "strip", "aria-hidden": "true" }, parts);
}

/** Operands of a small broadcast in the shape of the result: stored numbers solid, repeated ones as ghosts. */
export function stretchedGrids(block, tensors, names, view = []) {
  const [rows, columns] = [block.shape.at(-2) ?? 1, block.shape.at(-1) ?? 1];
  if (block.shape.length > 2 || block.shape.length === 0 || rows > 6 || columns > 6 || rows * columns < 2) return null;
  const grids = block.operands.map((operand, index) => {
    const steps = [0, ...operand.expanded_strides].slice(-2);
    const roles = [{ operands: [] }, ...block.axes].slice(-2).map((axis) => axis.operands[index]?.role ?? "kept");
    const values = tensors[index]?.values() ?? [];
    const cells = [];
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const ghost = (row > 0 && roles[0] !== "kept") || (column > 0 && roles[1] !== "kept");
        cells.push(h("i", { class: ghost ? "tile ghost" : "tile" }, worded(values[row * steps[0] + column * steps[1]])));
      }
    }
    const grid = h("div", { class: "tiles" }, cells);
    grid.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
    return h("div", { class: "tile-block" }, grid, h("span", { class: "note" }, names[index], view[index]?.trim() ? `[${view[index].trim()}]` : ""));
  });
  return h("div", { class: "grids", "aria-hidden": "true" }, grids);
}

function worded(value) {
  return value === undefined ? "" : element(value, 3);
}
