// A sweep: time against size, a line for each strategy, and the same as a table.

import { h } from "../lab/dom.js";
import { decade, time } from "../lab/format.js";
import { key, naming } from "../lab/race.js";

const SVG = "http://www.w3.org/2000/svg";
const [HEIGHT, TOP, BOTTOM, LEFT, LABEL] = [420, 14, 44, 56, 15];
const COLOURS = 6;
const MARKS = [
  (x, y) => ["circle", { cx: x, cy: y, r: 4 }],
  (x, y) => ["rect", { x: x - 3.5, y: y - 3.5, width: 7, height: 7 }],
  (x, y) => ["path", { d: `M${x} ${y - 5}L${x + 5} ${y}L${x} ${y + 5}L${x - 5} ${y}Z` }],
  (x, y) => ["path", { d: `M${x} ${y - 5}L${x + 4.6} ${y + 3.5}L${x - 4.6} ${y + 3.5}Z` }],
];

/** A line for each key of rows that ran: `{name, points: [{size, row}]}`. */
export function linesOf(points) {
  const about = naming(points.flatMap(({ report }) => report.rows.filter((row) => !row.skipped)));
  const lines = new Map();
  for (const { size, report } of points) {
    for (const row of report.rows) {
      if (row.skipped) continue;
      const line = lines.get(key(row)) ?? { name: `${row.strategy}${about(row)}`, points: [] };
      line.points.push({ size, row });
      lines.set(key(row), line);
    }
  }
  return [...lines.values()];
}

/** The picture in `root`, drawn again when its width changes. `limit` is the most milliseconds of a run. */
export function showPicture(root, points, limit) {
  let drawn = 0;
  new ResizeObserver(() => {
    if (root.clientWidth === drawn) return;
    drawn = root.clientWidth;
    root.replaceChildren(picture(linesOf(points), points.map(({ size }) => size), limit, drawn));
  }).observe(root);
}

function picture(lines, sizes, limit, width) {
  const right = 14 + 7.4 * Math.max(...lines.map(({ name }) => name.length), 6);
  const logs = lines.flatMap((line) => line.points.map(({ row }) => Math.log10(row.median_ms))).concat(Math.log10(limit));
  const low = Math.floor(Math.min(...logs));
  const high = Math.max(low + 1, Math.ceil(Math.max(...logs)));
  const [first, last] = [Math.log2(sizes[0]), Math.log2(sizes.at(-1))];
  const x = (size) => LEFT + ((width - LEFT - right) * (last > first ? (Math.log2(size) - first) / (last - first) : 0.5));
  const y = (ms) => TOP + ((HEIGHT - TOP - BOTTOM) * (high - Math.log10(ms))) / (high - low);
  const root = node("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `median time against n, for ${lines.map(({ name }) => name).join(", ")}`, class: "sweep" });
  for (let power = low; power <= high; power += high - low > 6 ? 2 : 1) {
    const at = y(10 ** power);
    root.append(node("line", { x1: LEFT, x2: width - right, y1: at, y2: at, class: "grid" }), words(decade(10 ** power), LEFT - 8, at + 4, "end"));
  }
  const every = Math.ceil((sizes.length * 42) / (width - LEFT - right));
  sizes.forEach((size, at) => at % every === 0 && root.append(words(size.toLocaleString("en"), x(size), HEIGHT - BOTTOM + 20, "middle")));
  root.append(words("n", (LEFT + width - right) / 2, HEIGHT - 4, "middle"));
  root.append(node("line", { x1: LEFT, x2: width - right, y1: y(limit), y2: y(limit), class: "limit" }), words(`limit of a run: ${time(limit)}`, LEFT + 6, y(limit) + 14, "start"));
  const labels = placed(lines.map((line) => y(line.points.at(-1).row.median_ms)));
  lines.forEach((line, at) => root.append(drawnLine(line, at, { x, y, end: width - right, label: labels[at], last: sizes.at(-1) })));
  return root;
}

/** A line with its marks and its name; a ring marks the size after which a strategy stops. */
function drawnLine({ name, points }, at, { x, y, end, label, last }) {
  const group = node("g", { class: `sweep-line line-${at % COLOURS}` });
  const places = points.map(({ size, row }) => [x(size), y(row.median_ms)]);
  const [lastX, lastY] = places.at(-1);
  group.append(node("polyline", { points: places.map((place) => place.join(",")).join(" ") }), node("path", { d: `M${lastX} ${lastY}L${end + 8} ${label}`, class: "leader" }));
  points.forEach(({ size, row }, index) => {
    const [tag, attributes] = MARKS[at % MARKS.length](...places[index]);
    const mark = node(tag, { ...attributes, class: "mark" });
    const title = node("title", {});
    title.textContent = `${name} at ${size}: ${time(row.median_ms)}, middle half ${time(row.iqr_ms)}${row.agrees ? "" : ", disagrees"}`;
    mark.append(title);
    group.append(mark);
  });
  if (points.at(-1).size < last) group.append(node("circle", { cx: lastX, cy: lastY, r: 8, class: "stop" }));
  group.append(words(name, end + 12, label + 4, "start"));
  return group;
}

/** Heights of the names: as near to the ends of their lines as they go without overlapping. */
function placed(ends) {
  const labels = [...ends];
  let next = HEIGHT - BOTTOM + LABEL;
  for (const at of ends.map((_, index) => index).sort((a, b) => ends[b] - ends[a])) {
    labels[at] = next = Math.min(ends[at], next - LABEL);
  }
  return labels;
}

/** Medians by size, a column for each strategy; `>` marks the fastest, `!` one that disagrees. */
export function medians(points) {
  const lines = linesOf(points);
  const head = ["n", ...lines.map(({ name }) => name)];
  const rows = points.map(({ size }) => {
    const found = lines.map((line) => line.points.find((point) => point.size === size)?.row);
    const right = found.filter((row) => row?.agrees).map((row) => row.median_ms);
    const sign = (row) => (row.agrees ? (row.median_ms === Math.min(...right) ? "> " : "") : "! ");
    return [String(size), ...found.map((row) => (row ? sign(row) + time(row.median_ms) : ""))];
  });
  return [head, ...rows];
}

/** Medians as an element. */
export function mediansTable(points) {
  const [head, ...rows] = medians(points);
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Medians by size" },
    h(
      "table",
      { class: "figures" },
      h("thead", {}, h("tr", {}, head.map((text) => h("th", { scope: "col", class: "number" }, text)))),
      h("tbody", {}, rows.map(([size, ...cells]) => h("tr", {}, h("th", { scope: "row", class: "number" }, size), cells.map((text) => h("td", { class: text.startsWith("!") ? "number wrong" : text.startsWith(">") ? "number best" : "number" }, text))))),
    ),
  );
}

function node(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, String(value));
  return element;
}

function words(text, x, y, anchor) {
  const element = node("text", { x, y, "text-anchor": anchor });
  element.textContent = text;
  return element;
}
