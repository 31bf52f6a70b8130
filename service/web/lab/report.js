// Reports of races as files: to save, as JSON, CSV, Markdown or a picture, and to lay over a race.

import { fill, h, save } from "./dom.js";
import { crossed, distance, factor, rate, share, time } from "./format.js";
import { picture, png, svg } from "./picture.js";
import { arithmeticOf, unavailable } from "./race.js";

const FIELDS = ["strategy", "device", "precision", "deterministic", "estimated_ms", "runs", "median_ms", "min_ms", "iqr_ms", "compile_ms", "upload_ms", "download_ms", "speedup", "max_abs_error", "median_abs_error", "max_rel_error", "median_rel_error", "max_ulp_error", "median_ulp_error", "agrees", "disagreeing", "worst", "worst_result", "gflops", "gb_per_s", "peak_share", "skipped"];

/** The call of a report in one line. */
export function title({ op, params = {}, shapes, dtype }) {
  return `${[op, ...Object.entries(params).map(fieldText)].join(" ")} of ${shapes.map((shape) => crossed(shape) || "()").join(" and ")}, ${dtype}`;
}

/** A field of the call; of the steps of a chain only their operations. */
function fieldText([name, value]) {
  if (name === "steps") return value.map(({ operation }) => operation).join(", ");
  return name === "equation" ? value : `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`;
}

/** The host of a report in one line. */
export function hostLine({ cpu, threads, versions }) {
  const texts = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return `${cpu}, ${threads} ${threads === 1 ? "thread" : "threads"}, ${texts.join(", ")}`;
}

/** A row for each strategy, with the fields of the JSON report; one that a row lacks is empty. */
export function csv(report) {
  const call = [report.op, report.shapes.map((shape) => crossed(shape) || "()").join(" "), report.dtype];
  const lines = report.rows.map((row) => [...call, ...FIELDS.map((name) => row[name])]);
  return [["op", "shapes", "dtype", ...FIELDS], ...lines].map((cells) => `${cells.map(cell).join(",")}\r\n`).join("");
}

function cell(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A heading, a table, the strategies that the server lacks of those in its list, and the host. */
export function markdown(report, strategies) {
  const precisions = report.rows.some((row) => row.precision) ? ["precision"] : [];
  const head = ["strategy", "device", ...precisions, "median", "speed-up", "GFLOP/s", "GB/s", "of peak", "max error", "agrees"];
  const names = (row) => [row.strategy, row.device, ...precisions.map((name) => row[name] ?? "")];
  const absent = strategies.filter(({ name, available }) => !available && report.rows.some((row) => row.strategy === name && row.skipped));
  const rows = report.rows.filter((row) => !absent.some(({ name }) => name === row.strategy)).map((row) => (row.skipped ? [...names(row), "", "", "", "", "", "", `skipped: ${row.skipped}`] : [
    ...names(row),
    time(row.median_ms),
    row.speedup ? factor(row.speedup) : "",
    row.gflops ? rate(row.gflops) : "",
    row.gb_per_s ? rate(row.gb_per_s) : "",
    share(row.peak_share),
    distance(row.max_abs_error),
    row.agrees ? "yes" : "NO",
  ]));
  const line = (cells) => `| ${cells.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`;
  const rule = head.map((name) => (["strategy", "device", "precision", "agrees"].includes(name) ? "---" : "--:"));
  const notes = unavailable(absent).map(([reason, group]) => `not on this server: ${group.map(({ name }) => name).join(", ")} (${reason})`);
  return `${[`## ${title(report)}`, [head, rule, ...rows].map(line).join("\n"), ...notes, hostLine(report.host)].join("\n\n")}\n`;
}

/** The report in a text; an Error that says why there is none. */
export function parse(text) {
  let report;
  try {
    report = JSON.parse(text);
  } catch {
    throw new Error("it is not JSON");
  }
  if (report?.points) throw new Error("it is a sweep, which has many races");
  const { op, shapes, dtype, host, rows } = report ?? {};
  const whole = [op, dtype, host?.cpu].every((each) => typeof each === "string") && [shapes, rows].every(Array.isArray) && shapes.every(Array.isArray) && typeof host.versions === "object" && host.versions !== null;
  if (!whole) throw new Error("it is no report of a race");
  return { ...report, rows: rows.filter((row) => typeof row?.strategy === "string" && row.median_ms > 0) };
}

/** The reason why a kept report cannot be laid over another one; null if it can. */
export function differs(kept, report) {
  const { params, ...rest } = report;
  if (title(kept) !== title(kept.params ? report : rest)) return `it is of ${title(kept)}`;
  if (kept.multiply_adds !== report.multiply_adds) return "it is of other fields, such as another equation";
  const [then, now] = [kept, report].map(({ rows }) => new Set(rows.map(arithmeticOf)));
  if (then.size === 0 || [...then].some((each) => now.has(each))) return null;
  return `it is in ${[...then].join(" and ")}, this race in ${[...now].join(" and ")}`;
}

/** Buttons and a file field in `root`; `changed()` is called when a report is chosen or left. `kept` is one to begin with, `{name, report}`. */
export function reportBar(root, changed, kept = null) {
  const said = h("span", { class: "note", role: "status" });
  const file = h("input", { type: "file", accept: ".json,application/json", "aria-label": "a kept report to lay over the race", on: { change: () => choose(file.files[0]) } });
  const leave = h("button", { type: "button", class: "quiet-button", hidden: true, on: { click: () => lay(null) } }, "Take it away");
  const buttons = h("span", { class: "actions", hidden: true });
  let report = null;
  let strategies = [];
  const forms = [
    ["JSON", "json", "application/json", () => JSON.stringify(report, null, 1)],
    ["CSV", "csv", "text/csv", () => csv(report)],
    ["Markdown", "md", "text/markdown", () => markdown(report, strategies)],
    ["SVG", "svg", "image/svg+xml", () => svg(drawing())],
    ["PNG", "png", "image/png", () => png(drawing())],
  ];
  fill(buttons, forms.map(([name, ending, type, content]) => h("button", { type: "button", class: "quiet-button", on: { click: async () => save(new Blob([await content()], { type }), `${report.op}-race.${ending}`) } }, `Save ${name}`)));
  fill(root, buttons, h("label", { class: "note" }, "Compare with a saved report ", file), leave, said);

  async function choose(chosen) {
    if (!chosen) return;
    try {
      lay({ name: chosen.name, report: parse(await chosen.text()) });
    } catch (error) {
      lay(null);
      said.textContent = `${chosen.name}: ${error.message}`;
    }
  }

  function lay(next) {
    kept = next;
    if (!kept) file.value = "";
    said.textContent = "";
    changed();
  }

  function drawing() {
    return picture(report, laid(), { title: title(report), host: hostLine(report.host), then: laid() && `${kept.name}: ${hostLine(laid().host)}` });
  }

  /** The kept report, if it is of the race that is shown. */
  function laid() {
    return kept && report && differs(kept.report, report) === null ? kept.report : null;
  }

  /**
   * Shows what can be done with a report, or without one; returns the report to lay over it, or null.
   * `listed` are the strategies of the operation, as the server lists them.
   */
  function update(next, listed) {
    report = next;
    strategies = listed;
    buttons.hidden = report === null;
    leave.hidden = kept === null;
    if (kept) {
      const why = report && differs(kept.report, report);
      if (!report) said.textContent = `${kept.name} is of ${title(kept.report)}: race the same call to see both.`;
      else said.textContent = why ? `${kept.name} is not shown: ${why}; this race is of ${title(report)}.` : `◆ ${kept.name}: ${hostLine(kept.report.host)}`;
    }
    return laid();
  }

  return { update };
}
