// A race as an SVG picture that stands alone: it loads nothing, and needs no style sheet.

import { decade, factor, share, time } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const [NOW, THEN, WRONG, INK, SOFT, FAINT] = ["#0072b2", "#e69f00", "#d55e00", "#222222", "#606060", "#d8d8d8"];
const [LEFT, WIDTH, TOP, ROW] = [150, 420, 84, 28];

/** The text of the picture of a report; `kept` is another one to lay over it, or null. */
export function picture(report, kept, { title, host, then }) {
  const rows = report.rows.filter((row) => row.median_ms > 0);
  const before = new Map((kept?.rows ?? []).map((row) => [`${row.strategy} ${row.device}`, row.median_ms]));
  const of = (row) => before.get(`${row.strategy} ${row.device}`);
  const several = new Set(rows.map((row) => row.device)).size > 1;
  const logs = rows.flatMap((row) => [row.median_ms, of(row)]).filter((ms) => ms > 0).map(Math.log10);
  const low = Math.floor(logs.length > 0 ? Math.min(...logs) : 0);
  const high = Math.max(low + 1, Math.ceil(Math.max(...logs, low)));
  const x = (ms) => LEFT + (WIDTH * (Math.log10(ms) - low)) / (high - low);
  const bottom = TOP + ROW * rows.length;
  const columns = [["median", (row) => time(row.median_ms)], ["speed-up", (row) => (row.speedup ? factor(row.speedup) : "")], ["of peak", (row) => share(row.peak_share)], ...(kept ? [["now over then", (row) => (of(row) ? factor(of(row) / row.median_ms) : "")]] : [])];
  const column = (at) => LEFT + WIDTH + 100 * (at + 1);
  const width = column(columns.length - 1) + 20;
  const root = node("svg", { width, height: bottom + 30, viewBox: `0 0 ${width} ${bottom + 30}`, "font-family": "sans-serif", "font-size": 13, fill: INK });
  root.append(node("rect", { width, height: bottom + 30, fill: "#ffffff" }), words(title, 16, 24, { "font-size": 16, "font-weight": 600 }), words(`● ${host}`, 16, 42, { "font-size": 11, fill: SOFT }));
  if (kept) root.append(words(`◆ ${then}`, 16, 57, { "font-size": 11, fill: SOFT }));
  const step = high - low > 6 ? 2 : 1;
  for (let power = low; power <= high; power += step) {
    root.append(node("line", { x1: x(10 ** power), x2: x(10 ** power), y1: TOP, y2: bottom, stroke: FAINT }), words(decade(10 ** power), x(10 ** power), bottom + 16, { "text-anchor": "middle", "font-size": 11, fill: SOFT }));
  }
  columns.forEach(([name], at) => root.append(words(name, column(at), TOP - 6, { "text-anchor": "end", "font-size": 11, fill: SOFT })));
  rows.forEach((row, at) => {
    const y = TOP + ROW * (at + 0.5);
    const colour = row.agrees === false ? WRONG : NOW;
    root.append(
      words(several ? `${row.strategy} on ${row.device}` : row.strategy, LEFT - 12, y + 4, { "text-anchor": "end" }),
      node("line", { x1: LEFT, x2: x(row.median_ms), y1: y, y2: y, stroke: colour, "stroke-opacity": 0.4, "stroke-width": 2 }),
    );
    if (of(row)) root.append(node("rect", { x: x(of(row)) - 4, y: y - 4, width: 8, height: 8, fill: THEN, transform: `rotate(45 ${x(of(row))} ${y})` }));
    root.append(node("circle", { cx: x(row.median_ms), cy: y, r: 5, fill: colour }));
    columns.forEach(([, text], place) => root.append(words(text(row), column(place), y + 4, { "text-anchor": "end" })));
  });
  return new XMLSerializer().serializeToString(root);
}

function node(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

function words(text, x, y, attributes) {
  const element = node("text", { x, y, ...attributes });
  element.textContent = text;
  return element;
}
