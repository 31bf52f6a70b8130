// The phases of one request, as one stacked bar of their times.

import { h } from "./dom.js";
import { time } from "./format.js";

const PHASES = [
  ["decode", "reading the operands"],
  ["queue", "waiting for a slot"],
  ["upload", "to the device"],
  ["compile", "code for the strategy"],
  ["compute", "the strategy alone"],
  ["download", "from the device"],
  ["encode", "writing the result"],
];

/** The bar and its legend, for the `timing` of an answer. */
export function phasesBar(timing, roundTrip) {
  const total = timing.total_ms || 1;
  const parts = PHASES.map(([name, words]) => ({ name, words, ms: timing[`${name}_ms`] })).filter(({ ms }) => ms > 0);
  const greatest = parts.reduce((most, part) => (part.ms > most.ms ? part : most), { name: "", ms: 0 });
  const bar = h("div", { class: "phases", role: "img", "aria-label": parts.map(({ name, ms }) => `${name} ${time(ms)}`).join(", ") });
  for (const { name, ms } of parts) {
    const piece = h("i", { class: `phase phase-${name}`, title: `${name}: ${time(ms)}` });
    piece.style.flexGrow = String(ms / total);
    bar.append(piece);
  }
  return h(
    "figure",
    { class: "timing" },
    h("figcaption", {}, `The service took ${time(timing.total_ms)}, most of it to ${verb(greatest.name)}. `, h("span", { class: "note" }, `Round trip measured by this page: ${time(roundTrip)}. ${timing.warm ? "" : "First run of this strategy: it was cold. "}${timing.threads} ${timing.threads === 1 ? "thread" : "threads"}.`)),
    bar,
    h("ul", { class: "legend" }, parts.map(({ name, words, ms }) =>
      h("li", {}, h("i", { class: `swatch phase-${name}` }), h("span", {}, name, " "), h("span", { class: "number" }, time(ms)), h("span", { class: "note" }, ` ${words}`)))),
  );
}

function verb(phase) {
  return { queue: "wait", upload: "upload", download: "download" }[phase] ?? phase;
}
