// A race as a picture that stands alone: an SVG that loads nothing and needs no style sheet, or the same as PNG.

import { decade, factor, share, time } from "./format.js";
import { key, naming } from "./race.js";

const SVG = "http://www.w3.org/2000/svg";
const [NOW, THEN, WRONG, INK, SOFT, FAINT] = ["#0072b2", "#e69f00", "#d55e00", "#222222", "#606060", "#d8d8d8"];
const [LEFT, LETTER, WIDTH, TOP, ROW] = [150, 7.2, 420, 84, 28];

const SCALE = 2; // pixels of a PNG for each unit of the SVG

/** The text of a picture. */
export function svg(root) {
  return new XMLSerializer().serializeToString(root);
}

/**
 * A picture as PNG. A browser draws an SVG from an address alone, and the page's Content-Security-Policy allows no images
 * of blobs: its few kinds of elements are drawn one by one, and the policy needs no exception.
 */
export function png(root) {
  const canvas = document.createElement("canvas");
  canvas.width = SCALE * root.getAttribute("width");
  canvas.height = SCALE * root.getAttribute("height");
  const pen = canvas.getContext("2d");
  pen.scale(SCALE, SCALE);
  for (const element of root.children) draw(pen, element, (name) => element.getAttribute(name) ?? root.getAttribute(name));
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

/** Draws an element, whose attributes `of` returns, on a canvas. */
function draw(pen, element, of) {
  const numbers = (...names) => names.map((name) => Number(of(name)));
  pen.save();
  const [degrees, ...centre] = of("transform")?.match(/[\d.]+/g).map(Number) ?? [0, 0, 0];
  pen.translate(...centre);
  pen.rotate((degrees * Math.PI) / 180);
  pen.translate(...centre.map((each) => -each));
  pen.fillStyle = of("fill");
  if (element.localName === "rect") pen.fillRect(...numbers("x", "y", "width", "height"));
  else if (element.localName === "text") {
    pen.font = `${of("font-weight") ?? 400} ${of("font-size")}px ${of("font-family")}`;
    pen.textAlign = { middle: "center", end: "right" }[of("text-anchor")] ?? "left";
    pen.fillText(element.textContent, ...numbers("x", "y"));
  } else {
    pen.beginPath();
    if (element.localName === "circle") {
      pen.arc(...numbers("cx", "cy", "r"), 0, 2 * Math.PI);
      pen.fill();
    } else {
      pen.strokeStyle = of("stroke");
      pen.globalAlpha = Number(of("stroke-opacity") ?? 1);
      pen.lineWidth = Number(of("stroke-width") ?? 1);
      pen.moveTo(...numbers("x1", "y1"));
      pen.lineTo(...numbers("x2", "y2"));
      pen.stroke();
    }
  }
  pen.restore();
}

/** The picture of a report as an SVG element; `kept` is another one to lay over it, or null. */
export function picture(report, kept, { title, host, then }) {
  const rows = report.rows.filter((row) => row.median_ms > 0);
  const before = new Map((kept?.rows ?? []).map((row) => [key(row), row.median_ms]));
  const of = (row) => before.get(key(row));
  const about = naming(rows);
  const left = Math.max(LEFT, 24 + LETTER * Math.max(0, ...rows.map((row) => `${row.strategy}${about(row)}`.length)));
  const logs = rows.flatMap((row) => [row.median_ms, of(row)]).filter((ms) => ms > 0).map(Math.log10);
  const low = Math.floor(logs.length > 0 ? Math.min(...logs) : 0);
  const high = Math.max(low + 1, Math.ceil(Math.max(...logs, low)));
  const x = (ms) => left + (WIDTH * (Math.log10(ms) - low)) / (high - low);
  const bottom = TOP + ROW * rows.length;
  const columns = [["median", (row) => time(row.median_ms)], ["speed-up", (row) => (row.speedup ? factor(row.speedup) : "")], ["of peak", (row) => share(row.peak_share)], ...(kept ? [["now over then", (row) => (of(row) ? factor(of(row) / row.median_ms) : "")]] : [])];
  const column = (at) => left + WIDTH + 100 * (at + 1);
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
      words(`${row.strategy}${about(row)}`, left - 12, y + 4, { "text-anchor": "end" }),
      node("line", { x1: left, x2: x(row.median_ms), y1: y, y2: y, stroke: colour, "stroke-opacity": 0.4, "stroke-width": 2 }),
    );
    if (of(row)) root.append(node("rect", { x: x(of(row)) - 4, y: y - 4, width: 8, height: 8, fill: THEN, transform: `rotate(45 ${x(of(row))} ${y})` }));
    root.append(node("circle", { cx: x(row.median_ms), cy: y, r: 5, fill: colour }));
    columns.forEach(([, text], place) => root.append(words(text(row), column(place), y + 4, { "text-anchor": "end" })));
  });
  return root;
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
