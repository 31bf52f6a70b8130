// The page that `compare --html` writes: a race, or a sweep, whose report is in the page.

import { choice, fill, h, save } from "../lab/dom.js";
import { csv } from "../lab/report.js";
import { machine } from "./machine.js";
import { showRace } from "./race.js";
import { medians, mediansTable, showPicture } from "./sweep.js";

const data = JSON.parse(document.getElementById("data").textContent);
const main = document.querySelector("main");

function section(title, note, ...children) {
  return h("section", {}, h("h2", {}, title, " ", h("span", { class: "title-note" }, note)), children);
}

function raceSection(title, report, kept) {
  const root = h("div");
  const shown = section(title, "○ estimated by the plan, ● measured; bars: middle half of the runs", root);
  showRace(root, { ...data, report, kept });
  return shown;
}

function sweepSection() {
  const drawing = h("div", { class: "drawing" });
  const forms = [
    ["JSON", "json", "application/json", () => JSON.stringify({ points: data.points, ended: data.ended }, null, 1)],
    ["CSV", "csv", "text/csv", () => data.points.map(({ report }, at) => csv(report).slice(at === 0 ? 0 : csv(report).indexOf("\n") + 1)).join("")],
    ["Markdown", "md", "text/markdown", markdown],
  ];
  const buttons = forms.map(([name, ending, type, text]) => h("button", { type: "button", class: "quiet-button", on: { click: () => save(new Blob([text()], { type }), `${data.points[0].report.op}-sweep.${ending}`) } }, `Save ${name}`));
  showPicture(drawing, data.points, data.limit_ms);
  return section(
    "Time against size",
    "medians; a ring marks the last size of a strategy that stops",
    drawing,
    data.ended && h("p", { class: "note" }, `The sweep ended ${data.ended}.`),
    mediansTable(data.points),
    h("p", { class: "note" }, "> marks the fastest of a size, ! one that disagrees."),
    h("div", { class: "reports" }, buttons),
  );
}

function markdown() {
  const line = (cells) => `| ${cells.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`;
  const [head, ...rows] = medians(data.points);
  return `## ${data.title}\n\n${[head, head.map(() => "--:"), ...rows].map(line).join("\n")}\n`;
}

/** The race of one size, which a list chooses. */
function sizeSection() {
  const root = h("div");
  const sizes = data.points.map(({ size }) => String(size));
  const show = (size) => fill(root, raceSection(`At n = ${size}`, data.points[sizes.indexOf(size)].report, data.kept[sizes.indexOf(size)]));
  show(sizes.at(-1));
  return h("div", {}, h("label", { class: "size" }, "Race of n = ", choice("size", sizes, sizes.at(-1), show)), root);
}

const last = data.points?.at(-1)?.report ?? data.report;
fill(
  main,
  data.points ? [sweepSection(), sizeSection()] : raceSection("Strategies", data.report, data.kept),
  section("Machine", "", machine(last.host)),
);
