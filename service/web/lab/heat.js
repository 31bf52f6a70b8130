// A matrix as colours that diverge from zero, with the numbers of a small one.
//
// It is drawn on one canvas of any size: a million elements are a million pixels, not nodes.

import { letterMark } from "./axes.js";
import { fill, h } from "./dom.js";
import { element, exact } from "./format.js";

const NUMBERED = 12; // rows and columns up to which cells show numbers
const SAMPLED = 1024; // cells drawn along an axis; beyond that every n-th element
const CELL = { width: 58, height: 34 };
const STEPS = 255; // of a colour ramp

// One listener for all: one for each drawing would keep its tensor as long as the page is open.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const canvas of document.querySelectorAll(".heat canvas")) canvas.dispatchEvent(new Event("recolour"));
});

/** The number that decides the colour of an element; of a complex number the magnitude. */
function size(value) {
  if (Array.isArray(value)) return Math.hypot(...value);
  return Number(value);
}

/** Least and greatest finite element, the greatest magnitude, and the count of elements that are not finite. */
function survey(values) {
  let [least, greatest, odd] = [Infinity, -Infinity, 0];
  for (let i = 0; i < values.length; i += 1) {
    const number = size(values[i]);
    if (!Number.isFinite(number)) odd += 1;
    else {
      if (number < least) least = number;
      if (number > greatest) greatest = number;
    }
  }
  if (least > greatest) [least, greatest] = [0, 0];
  return { least, greatest, most: Math.max(-least, greatest, 0), odd };
}

/** Colours of the page for numbers: ramps from zero to the greatest magnitudes, and one for numbers that are not finite. */
function palette(canvas) {
  const style = getComputedStyle(canvas);
  const text = (name) => style.getPropertyValue(name).trim();
  const read = (name) => text(name).match(/[\da-f]{2}/gi).map((part) => parseInt(part, 16));
  const zero = read("--heat-zero");
  const ramp = (end) => Array.from({ length: STEPS + 1 }, (_, step) => zero.map((from, i) => Math.round(from + (end[i] - from) * (step / STEPS) ** 0.8)));
  return { plus: ramp(read("--heat-plus")), minus: ramp(read("--heat-minus")), odd: [128, 128, 128], ink: text("--ink"), paper: text("--paper") };
}

/** The colour of a number: by its magnitude, or by its place from the least to the greatest number. */
function shade(number, { plus, minus, odd }, { least, greatest, most }, ranged) {
  if (!Number.isFinite(number)) return odd;
  const far = ranged ? (number - least) / (greatest - least) : Math.abs(number) / most;
  return (number < 0 && !ranged ? minus : plus)[Math.min(STEPS, far * STEPS) | 0]; // far is NaN if all are 0
}

const light = ([r, g, b]) => r * 0.299 + g * 0.587 + b * 0.114 > 140;

/** A colour as one word of an ImageData, in the order of this processor. */
const pixel = (colour) => new Uint32Array(Uint8Array.of(...colour, 255).buffer)[0];

/**
 * A drawing of a tensor. `small` leaves out numbers, scale and cursor: a preview of an operand.
 * `letters` are those of its axes. The last two axes are drawn; fields choose among the others.
 */
export function heatMap({ shape, values, dtype = "float32", letters = [], small = false, name = "result", origin = null }) {
  const [rows, columns] = [shape.at(-2) ?? 1, shape.at(-1) ?? 1];
  const lead = shape.slice(0, -2);
  const plane = rows * columns;
  const numbered = !small && rows <= NUMBERED && columns <= NUMBERED;
  const canvas = h("canvas", small ? { role: "img", "aria-label": `${name} as colours` } : { role: "img", tabindex: "0", "aria-label": `${name}: ${rows} by ${columns}; arrow keys read its elements` });
  const readout = h("output", { class: "readout", "aria-live": "polite" });
  const found = survey(values);
  const { least, greatest, most, odd } = found;
  let ranged = false;
  let sheet = null; // the plane, a pixel for each element; null if it has to be drawn again
  const index = lead.map(() => 0);
  const cursor = { row: -1, column: -1 };
  let first = 0;

  function draw() {
    if (!canvas.isConnected || plane === 0) return;
    const room = canvas.parentElement.clientWidth || 320;
    const limit = small ? 132 : Math.min(room, 640);
    const cell = numbered ? CELL : small ? { width: 16, height: 16 } : { width: 28, height: 28 };
    const tallest = small ? 132 : 420;
    let [width, height] = [Math.min(columns * cell.width, limit), Math.min(rows * cell.height, tallest)];
    if (!numbered && rows > 1 && columns > 1) {
      // Square cells, unless one side would be too thin.
      const side = Math.min(width / columns, height / rows);
      width = Math.max(columns * side, Math.min(width, 40));
      height = Math.max(rows * side, Math.min(height, 40));
    }
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const colours = palette(canvas);
    sheet ??= painted(colours);
    pen.imageSmoothingEnabled = sheet.width > width;
    pen.drawImage(sheet, 0, 0, width, height);
    const [w, t] = [width / columns, height / rows];
    if (w >= 6 && t >= 6) rule(pen, colours, width, height, w, t);
    hatch(pen, colours, w, t);
    if (numbered) write(pen, colours, w, t);
    if (cursor.row >= 0) {
      pen.strokeStyle = colours.ink;
      pen.lineWidth = 2;
      pen.strokeRect(cursor.column * w + 1, cursor.row * t + 1, Math.max(w - 2, 2), Math.max(t - 2, 2));
    }
  }

  function painted(colours) {
    const [down, across] = [Math.min(rows, SAMPLED), Math.min(columns, SAMPLED)];
    const image = new ImageData(across, down);
    const pixels = new Uint32Array(image.data.buffer);
    const words = { plus: colours.plus.map(pixel), minus: colours.minus.map(pixel), odd: pixel(colours.odd) };
    for (let y = 0; y < down; y += 1) {
      const row = first + Math.floor((y * rows) / down) * columns;
      for (let x = 0; x < across; x += 1) {
        pixels[y * across + x] = shade(size(values[row + Math.floor((x * columns) / across)]), words, found, ranged);
      }
    }
    const whole = new OffscreenCanvas(across, down);
    whole.getContext("2d").putImageData(image, 0, 0);
    return whole;
  }

  function redraw() {
    sheet = null;
    draw();
  }

  function rule(pen, colours, width, height, w, t) {
    pen.strokeStyle = colours.paper;
    pen.lineWidth = 1;
    pen.beginPath();
    for (let x = 1; x < columns; x += 1) pen.rect(x * w, 0, 0, height);
    for (let y = 1; y < rows; y += 1) pen.rect(0, y * t, width, 0);
    pen.stroke();
  }

  function hatch(pen, colours, w, t) {
    if (odd === 0 || plane > 65_536) return;
    pen.save();
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 1;
    pen.beginPath();
    for (let at = 0; at < plane; at += 1) {
      if (Number.isFinite(size(values[first + at]))) continue;
      const [x, y] = [(at % columns) * w, Math.floor(at / columns) * t];
      for (let step = -t; step < w; step += 6) {
        pen.moveTo(x + Math.max(step, 0), y + Math.max(-step, 0));
        const far = Math.min(w - step, t);
        pen.lineTo(x + step + far, y + far);
      }
    }
    pen.globalAlpha = 0.45;
    pen.stroke();
    pen.restore();
  }

  function write(pen, colours, w, t) {
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const own = Array.from({ length: plane }, (_, at) => values[first + at]);
    let texts = own.map((value) => element(value, 4));
    if (texts.some((text) => text.length > 7)) texts = own.map((value) => element(value, 3));
    const longest = Math.max(...texts.map((text) => text.length));
    pen.font = `${longest > 7 ? 10.5 : 12.5}px ${getComputedStyle(document.body).getPropertyValue("--mono")}`;
    for (let at = 0; at < plane; at += 1) {
      const back = shade(size(own[at]), colours, found, ranged);
      pen.fillStyle = light(back) ? "#15171a" : "#ffffff";
      pen.fillText(texts[at], (at % columns) * w + w / 2, Math.floor(at / columns) * t + t / 2 + 1, w - 4);
    }
  }

  function point(row, column) {
    cursor.row = Math.max(0, Math.min(rows - 1, row));
    cursor.column = Math.max(0, Math.min(columns - 1, column));
    const [down, across] = origin ?? [0, 0];
    const place = [...index, ...(shape.length > 1 ? [down + cursor.row] : []), ...(shape.length > 0 ? [across + cursor.column] : [])];
    const value = values[first + cursor.row * columns + cursor.column];
    fill(readout, `${name}[${place.join(", ")}] = `, h("strong", {}, exact(value, dtype)));
    draw();
  }

  /** The numbers around the cursor of a drawing that is too large to hold them all. */
  function zoom() {
    if (numbered || cursor.row < 0) return;
    const from = (place, all) => Math.max(0, Math.min(place - NUMBERED / 2, all - NUMBERED));
    const [top, left] = [from(cursor.row, rows), from(cursor.column, columns)];
    const [down, across] = [Math.min(NUMBERED, rows), Math.min(NUMBERED, columns)];
    const part = Array.from({ length: down * across }, (_, i) => values[first + (top + Math.floor(i / across)) * columns + left + (i % across)]);
    const where = [shape.length > 1 && `rows ${top} to ${top + down - 1}`, `columns ${left} to ${left + across - 1}`].filter(Boolean).join(", ");
    const own = shape.length > 1 ? [down, across] : [across];
    fill(near, h("p", { class: "note" }, `The numbers of ${where}${lead.length > 0 ? ` at [${index.join(", ")}]` : ""}`), heatMap({ shape: own, values: part, dtype, name, letters: letters.slice(-own.length), origin: [top, left] }));
  }

  const near = h("div", { class: "near" }, h("p", { class: "note" }, "Click, or press Enter on an element, to see the numbers around it."));
  const root = h("div", { class: small ? "heat heat-small" : "heat" });
  if (small) {
    root.append(canvas);
  } else {
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      point(Math.floor(((event.clientY - box.top) / box.height) * rows), Math.floor(((event.clientX - box.left) / box.width) * columns));
    });
    canvas.addEventListener("click", zoom);
    canvas.addEventListener("keydown", (event) => {
      if (event.key === "Enter") zoom();
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!move) return;
      event.preventDefault();
      point(cursor.row < 0 ? 0 : cursor.row + move[0], cursor.column < 0 ? 0 : cursor.column + move[1]);
    });
    const top = letters.at(-1);
    const side = shape.length > 1 ? letters.at(-2) : null;
    root.append(
      ...slices(),
      h("div", { class: "sheet" }, h("span", { class: "edge edge-top" }, top ? [letterMark(top), ` ${columns} →`] : ""), h("span", { class: "edge edge-side" }, side ? [letterMark(side), ` ${rows} ↓`] : ""), h("div", { class: "canvas-room" }, canvas)),
      scale(),
      readout,
      numbered ? "" : near,
    );
  }
  new ResizeObserver(draw).observe(root);
  canvas.addEventListener("recolour", redraw);
  return root;

  /** One field for each axis before the last two, to choose the plane that is drawn. */
  function slices() {
    if (lead.length === 0) return [];
    const fields = lead.map((most_, axis) =>
      h("label", {}, letters[axis] ? letterMark(letters[axis]) : `axis ${axis}`, " = ", h("input", { type: "number", min: 0, max: most_ - 1, value: 0, on: { input: (event) => {
        index[axis] = Math.max(0, Math.min(most_ - 1, Number(event.target.value) || 0));
        first = index.reduce((sum, each, at) => sum * lead[at] + each, 0) * plane;
        redraw();
      } } }), ` of ${most_}`));
    return [h("div", { class: "slices" }, fields)];
  }

  function scale() {
    const words = [];
    if (odd > 0) words.push(`${odd} not finite, hatched`);
    if (rows > SAMPLED || columns > SAMPLED) words.push("a part of the elements is drawn");
    const low = h("span", {}, element(-most, 4));
    const bar = h("i", { class: "scale-bar" });
    const stretch = h("input", { type: "checkbox", on: { change: () => {
      ranged = stretch.checked;
      low.textContent = element(ranged ? least : -most, 4);
      high.textContent = element(ranged ? greatest : most, 4);
      bar.classList.toggle("ranged", ranged);
      redraw();
    } } });
    const high = h("span", {}, element(most, 4));
    return h("div", { class: "scale" }, low, bar, high, least < greatest && h("label", { class: "note" }, stretch, " from the least to the greatest"), words.length > 0 && h("span", { class: "note" }, words.join("; ")));
  }
}
