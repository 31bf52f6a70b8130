// The page of a load test: rates, latencies by route, phases of the server, failures, the machine.

import { fill, h } from "../../service/web/lab/dom.js";
import { bytes, count, decade, share, time } from "../../service/web/lab/format.js";
import { facts, machine } from "../../service/web/report/machine.js";

const SVG = "http://www.w3.org/2000/svg";
const PHASES = ["decode", "queue", "upload", "compile", "compute", "download", "encode", "outside"];
const PERCENTILES = [["median", "p50"], ["90 %", "p90"], ["95 %", "p95"], ["99 %", "p99"], ["most", "max"]];
const [HEIGHT, LEFT, TOP, BOTTOM] = [120, 56, 10, 22];

const data = JSON.parse(document.getElementById("data").textContent);
const { total, seconds, routes, failures, timeline } = data;

function section(title, note, ...children) {
  return h("section", {}, h("h2", {}, title, " ", h("span", { class: "title-note" }, note)), children);
}

function summary() {
  const failed = total.failed === 0 ? "None failed." : `${count(total.failed)} failed, ${share(total.failed / total.calls)}.`;
  const slow = total.calls > 0 && ` Half took less than ${time(total.latency_ms.p50)}, 99 of 100 less than ${time(total.latency_ms.p99)}.`;
  return h("p", { class: `prose${total.failed > 0 ? " loud" : ""}` }, `${count(total.calls)} calls, ${perSecond(total.calls)}. ${failed}`, slow);
}

function perSecond(calls) {
  return `${seconds > 0 ? Number((calls / seconds).toPrecision(3)) : 0} a second`;
}

/** Latencies of each route and of its kinds of calls. */
function latencies() {
  const head = ["", "calls", "a second", "failed", ...PERCENTILES.map(([name]) => name), "per call", "throughput"];
  const cells = ({ calls, failed, latency_ms, bytes: moved, bytes_per_s }) => [
    count(calls),
    String(Number((calls / seconds).toPrecision(3))),
    failed > 0 ? count(failed) : "",
    ...PERCENTILES.map(([, name]) => time(latency_ms[name])),
    moved > 0 ? bytes(Math.round(moved / calls)) : "",
    moved > 0 ? `${bytes(Math.round(bytes_per_s))}/s` : "",
  ];
  const row = (name, figures, kind) => h("tr", { class: `${kind}${figures.failed > 0 ? " wrong" : ""}` }, h("th", { scope: "row" }, name), cells(figures).map((text) => h("td", { class: "number" }, text)));
  return scrolled(
    "Latencies",
    h("thead", {}, h("tr", {}, head.map((text, at) => h("th", { scope: "col", class: at > 0 ? "number" : "" }, text)))),
    routes.map((route) => h("tbody", {}, row(route.route, route, "route"), route.kinds.map((kind) => row(kind.kind, kind, "kind")))),
  );
}

function scrolled(label, ...children) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, h("table", { class: "figures" }, children));
}

function swatch(name) {
  return h("i", { class: `swatch ${name}` });
}

/** A bar of the phases of each kind, by their medians. */
function phases() {
  const kinds = routes.flatMap((route) => route.kinds).filter(({ phases_ms }) => Object.keys(phases_ms).length > 0);
  const used = PHASES.filter((name) => kinds.some(({ phases_ms }) => phases_ms[name] > 0));
  return [
    h("ul", { class: "legend" }, used.map((name) => h("li", {}, swatch(`phase-${name}`), name))),
    h("ol", { class: "bars" }, kinds.map((kind) => bar(kind, used))),
  ];
}

function bar({ kind, phases_ms, latency_ms }, used) {
  const parts = used.map((name) => [name, phases_ms[name] ?? 0]).filter(([, ms]) => ms > 0);
  const sum = parts.reduce((all, [, ms]) => all + ms, 0);
  const words = parts.map(([name, ms]) => `${name} ${time(ms)}`);
  const drawn = h("div", { class: "phases", role: "img", "aria-label": words.join(", ") });
  for (const [name, ms] of parts) {
    const piece = h("i", { class: `phase phase-${name}`, title: `${name}: ${time(ms)}` });
    piece.style.flexGrow = String(ms / sum);
    drawn.append(piece);
  }
  return h("li", {}, h("span", {}, kind), h("span", { class: "number" }, time(latency_ms.p50)), drawn, h("span", { class: "note" }, words.join(", ")));
}

/** Failures with their problem codes. */
function failed() {
  if (failures.length === 0) return h("p", {}, "No call failed, and every answer was as expected.");
  const rows = failures.map(({ kind, status, code, detail, calls }) => h("tr", {}, [kind, status ?? "", code, detail].map((text) => h("td", {}, String(text))), h("td", { class: "number" }, count(calls))));
  return scrolled("Failures", h("thead", {}, h("tr", {}, ["call", "status", "code", "what was found"].map((text) => h("th", { scope: "col" }, text)), h("th", { scope: "col", class: "number" }, "calls"))), h("tbody", {}, rows));
}

/** Calls a second, and latencies on a log axis, over time. */
function overTime(root) {
  let drawn = 0;
  new ResizeObserver(() => {
    if (root.clientWidth === drawn) return;
    drawn = root.clientWidth;
    fill(root, h("p", { class: "note" }, "calls a second"), rates(drawn), h("ul", { class: "legend note" }, ["latency:", [swatch("p50"), "median"], [swatch("p95"), "95 %"]].map((each) => h("li", {}, each))), spread(drawn));
  }).observe(root);
}

function frame(width, label) {
  const { step_s, steps } = timeline;
  const root = node("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label, class: "time" });
  const x = (step) => LEFT + ((width - LEFT - 12) * step) / steps.length;
  const every = Math.ceil((steps.length * 60) / (width - LEFT));
  for (let step = 0; step <= steps.length; step += every) root.append(words(`${step * step_s} s`, x(step), HEIGHT - 4, "middle"));
  return { root, x };
}

function level(root, width, at, text) {
  root.append(node("line", { x1: LEFT, x2: width - 12, y1: at, y2: at, class: "grid" }), words(text, LEFT - 8, at + 4, "end"));
}

function rates(width) {
  const { step_s, steps } = timeline;
  const most = Math.max(1, ...steps.map(({ calls }) => calls / step_s));
  const { root, x } = frame(width, `calls a second, at most ${count(Math.round(most))}`);
  const y = (rate) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - rate / most);
  for (const rate of [0, most]) level(root, width, y(rate), count(Math.round(rate)));
  steps.forEach(({ calls, failed }, step) => {
    const place = { x: x(step), width: Math.max(1, x(step + 1) - x(step) - 1) };
    const [all, wrong] = [y(calls / step_s), y(failed / step_s)];
    root.append(node("rect", { ...place, y: all, height: wrong - all, class: "right" }), node("rect", { ...place, y: wrong, height: y(0) - wrong, class: "failed" }));
  });
  return root;
}

function spread(width) {
  const known = timeline.steps.map(({ latency_ms }, step) => ({ step, ...latency_ms })).filter(({ p50 }) => p50 > 0);
  const { root, x } = frame(width, "median and 95 % latency");
  if (known.length === 0) return root;
  const low = Math.floor(Math.log10(Math.min(...known.map(({ p50 }) => p50))));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...known.map(({ p95 }) => p95)))));
  const y = (ms) => TOP + ((HEIGHT - TOP - BOTTOM) * (high - Math.log10(ms))) / (high - low);
  for (let power = low; power <= high; power += 1) level(root, width, y(10 ** power), decade(10 ** power));
  for (const name of ["p95", "p50"]) root.append(node("polyline", { points: known.map((each) => `${x(each.step + 0.5)},${y(each[name])}`).join(" "), class: name }));
  return root;
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

const chart = h("div");
overTime(chart);
fill(
  document.querySelector("main"),
  section("Calls", "", summary(), chart),
  section("Failures", "", failed()),
  section("Latency", "as the client saw it; throughput is bytes both ways over the time of the calls", latencies()),
  section("Where the time goes", "medians of the server's phases; outside: HTTP, the network and the client", phases()),
  section("Machine of the service", "", data.server ? machine(data.server) : h("p", {}, "The service did not say.")),
  section("Machine of the client", "", facts(Object.entries(data.client))),
);
