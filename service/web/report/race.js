// One race of a report: its outcome, its drawing, files to save, and all of its figures.

import { fill, h } from "../lab/dom.js";
import { distance, factor, rate, share, time } from "../lab/format.js";
import { key, naming, raceTable, verdict } from "../lab/race.js";
import { reportBar } from "../lab/report.js";

const COLUMNS = [
  ["agrees", (row) => (row.agrees ? "yes" : `NO: ${row.disagreeing}`)],
  ["estimate", (row) => time(row.estimated_ms)],
  ["median", (row) => time(row.median_ms)],
  ["middle half", (row) => (row.runs > 1 ? time(row.iqr_ms) : "")],
  ["least", (row) => time(row.min_ms)],
  ["runs", (row) => String(row.runs)],
  ["to compile", (row) => (row.compile_ms > 0 ? time(row.compile_ms) : "")],
  ["speed-up", (row) => (row.speedup ? factor(row.speedup) : "")],
  ["GFLOP/s", (row) => (row.gflops ? rate(row.gflops) : "")],
  ["GB/s", (row) => (row.gb_per_s ? rate(row.gb_per_s) : "")],
  ["of peak", (row) => share(row.peak_share)],
  ["max error", (row) => distance(row.max_abs_error)],
  ["median error", (row) => distance(row.median_abs_error)],
  ["max ulp", (row) => (row.max_ulp_error > 0 ? rate(row.max_ulp_error) : distance(row.max_ulp_error))],
];

/** The race of `report` in `root`; `kept` is a report to lay over it, `{name, report}`, or null. */
export function showRace(root, { report, strategies, tolerance, kept = null }) {
  const drawing = h("div", { class: "race" });
  const bar = h("div", { class: "reports" });
  const table = raceTable(drawing, { state: { race: { strategies: null, ...tolerance } } });
  const reports = reportBar(bar, draw, kept);
  const rows = new Map(report.rows.map((row) => [key(row), row]));
  const plan = { strategies: report.rows.map(({ strategy, device, precision, deterministic, estimated_ms, skipped }) => ({ strategy, device, precision, deterministic, estimated_ms, reason: skipped ?? null })) };

  function draw() {
    const laid = reports.update(report, strategies);
    table.update({ op: report.op, strategies, plan, rows, report, kept: laid, running: false });
  }

  draw();
  fill(root, h("p", { class: "prose" }, verdict(report)), drawing, bar, figures(report, strategies), h("p", { class: "note" }, judged(tolerance)));
}

/** The meaning of `agrees`. */
function judged({ rtol, atol }) {
  return `Errors are the largest, in the unit of the result; ulp are units in its last place. An element agrees within ${atol} + ${rtol} of its size.`;
}

/** All figures, a row for each strategy that this host has. */
function figures(report, strategies) {
  const lacking = new Set(strategies.filter(({ available }) => !available).map(({ name }) => name));
  const rows = report.rows.filter((row) => !row.skipped || !lacking.has(row.strategy));
  const ran = rows.filter((row) => !row.skipped);
  const columns = COLUMNS.filter(([, text]) => ran.some((row) => text(row) !== ""));
  const about = naming(rows);
  const name = (row) => h("th", { scope: "row" }, `${row.strategy}${about(row)}`);
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "All figures" },
    h(
      "table",
      { class: "figures" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "strategy"), columns.map(([head]) => h("th", { scope: "col", class: "number" }, head)))),
      h("tbody", {}, rows.map((row) => h(
        "tr",
        { class: row.skipped ? "quiet" : row.agrees ? "" : "wrong" },
        name(row),
        row.skipped ? h("td", { colspan: columns.length }, `skipped: ${row.skipped}`) : columns.map(([, text]) => h("td", { class: "number" }, text(row))),
      ))),
    ),
  );
}
