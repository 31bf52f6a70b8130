// The strategies of the operation, one row each, with estimated times and the times of a race. Those that this server
// cannot run for any call are named below, by what they need.
//
// Times are on one log axis: a ring is the estimate of the plan, a dot the median, its bar the middle half of the runs.

import { h, refill } from "./dom.js";
import { decade, distance, factor, rate, share, time } from "./format.js";
import { sourceCode } from "./source.js";

/** The longest compilation of a strategy that races without being named. A test compares it with the service. */
export const MOST_COMPILE_MS = 5000;

/** The precision of a row; one that states none is in the default. */
export const precisionOf = ({ precision }) => precision ?? "ieee";

/** The arithmetic of a row in words: its precision, and whether it is deterministic. */
export const arithmeticOf = (row) => `${precisionOf(row)}${row.deterministic ? ", deterministic" : ""}`;

/** The key of a row, by which a race has it once. */
export const key = (row) => `${row.strategy} ${row.device} ${arithmeticOf(row)}`;

/** A function that returns what follows the strategy in the name of a row: device and precision, where those of `rows` differ. */
export function naming(rows, [before, within] = [" on ", " in "]) {
  const differs = (of) => new Set(rows.map(of)).size > 1;
  const [byDevice, byPrecision] = [differs(({ device }) => device), differs(precisionOf)];
  return (row) => `${byDevice ? before + row.device : ""}${byPrecision ? within + precisionOf(row) : ""}`;
}

/** The strategies that the server cannot run for any call, in groups: `[reason, strategies]`. */
export function unavailable(strategies) {
  const groups = new Map();
  for (const each of strategies) if (!each.available) groups.set(each.reason, [...(groups.get(each.reason) ?? []), each]);
  return [...groups];
}

/** The table in `root`; `update(view)` updates it. A `store` without `set` is that of a report, whose strategies are fixed. */
export function raceTable(root, store) {
  const opened = new Set();
  let shown = null;

  /**
   * `view`: `{op, precision, deterministic, strategies, plan, rows, report, kept, running}`; `precision` and `deterministic`
   * are those of a plan whose strategies state none; rows by their key, as they arrive; `kept` is a report to lay over
   * them, or null.
   */
  function update(view) {
    if (shown?.op !== view.op) opened.clear();
    shown = view;
    const then = new Map((view.kept?.rows ?? []).map((row) => [key(row), row]));
    const entries = entriesOf(view, then);
    const axis = axisOf(entries, then);
    const about = naming(entries, [" ", " "]);
    const absent = view.strategies.filter(({ name }) => !entries.some(({ strategy }) => strategy === name));
    refill(
      root,
      h(
        "div",
        { class: "strategy-head", "aria-hidden": "true" },
        h("span"),
        h("span", { class: "axis-line" }, axis.decades.map((ms) => placed(h("span", { class: "decade" }, decade(ms)), axis.at(ms)))),
        h("span", { class: "number" }, view.report || view.rows.size > 0 ? "median" : "estimate"),
        h("span", { class: "number" }, "speed-up"),
        h("span", { class: "number", title: "of what this machine could do: its peak rates of a product and of a copy" }, "of peak"),
        h("span", { class: "number" }, "max error"),
      ),
      h("ol", { class: "strategy-rows" }, entries.map((entry) => strategyRow({ ...entry, then: then.get(key(entry)), about: about(entry) }, axis, view))),
      unavailable(absent).map(([reason, lacking]) => unavailableNote(reason, lacking, view.op)),
    );
  }

  /** Strategies that lack the same, each with a button that shows its source. */
  function unavailableNote(reason, strategies, op) {
    const button = ({ name, summary }) => h("button", { type: "button", class: "disclose", "aria-expanded": String(opened.has(name)), "data-focus": name, title: summary, on: { click: () => toggle(name) } }, name);
    return h(
      "div",
      { class: "strategy-unavailable" },
      h("p", {}, "Not on this server: ", strategies.map((each) => [button(each), " "]), `(${reason})`),
      strategies.filter(({ name }) => opened.has(name)).map((info) => source(op, info)),
    );
  }

  function source(op, { summary, snippet }) {
    return h("div", { class: "strategy-source" }, h("p", {}, summary), sourceCode(op, snippet));
  }

  function toggle(name) {
    if (!opened.delete(name)) opened.add(name);
    update(shown);
  }

  function strategyRow(entry, axis, view) {
    const { strategy, row, plan, then, about } = entry;
    const info = view.strategies.find((each) => each.name === strategy);
    const name = key(entry);
    const chosen = store.state.race.strategies;
    const skipped = row?.skipped ?? (row ? null : plan?.reason);
    return h(
      "li",
      { class: `strategy-row${skipped ? " skipped" : ""}${row?.agrees === false ? " disagrees" : ""}${row && !skipped ? " ran" : ""}` },
      h(
        "span",
        { class: "strategy-name" },
        store.set && h("input", { type: "checkbox", checked: chosen ? chosen.includes(strategy) : isUsual(strategy, [plan]), "aria-label": `${strategy} takes part in the race`, "data-focus": `race ${name}`, on: { change: (event) => take(strategy, event.target.checked) } }),
        h("button", { type: "button", class: "disclose", "aria-expanded": String(opened.has(name)), "data-focus": name, title: info?.summary ?? "", on: { click: () => toggle(name) } }, strategy, about && [" ", h("span", { class: "note" }, about.trim())]),
      ),
      track(entry, axis, view),
      h("span", { class: "number strategy-time" }, row && !skipped ? time(row.median_ms) : plan?.estimated_ms ? h("span", { class: "note" }, "≈ ", time(plan.estimated_ms)) : ""),
      h("span", { class: "number strategy-speed" }, row?.speedup ? factor(row.speedup) : ""),
      h("span", { class: "number strategy-share", ...(row?.gflops ? { title: rates(row) } : {}) }, share(row?.peak_share)),
      h("span", { class: "number strategy-error", ...(row && !skipped ? { title: lastPlaces(row) } : {}) }, row && !skipped ? distance(row.max_abs_error) : ""),
      skipped && h("p", { class: "strategy-reason" }, skipped),
      !skipped && compiling(row, plan),
      copying(row),
      then?.median_ms > 0 && h("p", { class: "strategy-reason" }, `◆ ${time(then.median_ms)} in the kept report`, row && !skipped ? `: now ${factor(then.median_ms / row.median_ms)} as fast` : ""),
      row?.agrees === false && h("p", { class: "strategy-reason loud" }, `Disagrees: ${row.disagreeing} ${row.disagreeing === 1 ? "element is" : "elements are"} outside rtol ${store.state.race.rtol} and atol ${store.state.race.atol}${row.worst?.length ? `, the worst at [${row.worst.join(", ")}]` : ""}${row.worst_result ? ` of ${row.worst_result}` : ""}.`),
      opened.has(name) && info && source(view.op, info),
    );
  }

  /** True for a strategy that races where none is named: one that takes long to compile does not. */
  function isUsual(strategy, plans) {
    return strategy === store.state.race.baseline || plans.length === 0 || plans.some((plan) => !(plan?.compile_ms > MOST_COMPILE_MS));
  }

  function take(strategy, joins) {
    const all = shown.strategies.map((each) => each.name);
    const usual = all.filter((name) => isUsual(name, (shown.plan?.strategies ?? []).filter((each) => each.strategy === name)));
    const now = new Set(store.state.race.strategies ?? usual);
    if (joins) now.add(strategy);
    else now.delete(strategy);
    const chosen = all.filter((each) => now.has(each));
    store.set({ race: { ...store.state.race, strategies: String(chosen) === String(usual) ? null : chosen } });
  }

  return { update };
}

/** The errors of a row in units in the last place. */
function lastPlaces({ max_ulp_error, median_ulp_error }) {
  return `in units in the last place: ${distance(max_ulp_error)}, median ${distance(median_ulp_error)}`;
}

/** The time that a strategy took to compile, or takes in the first call of a process; nothing for one that is not compiled. */
function compiling(row, plan) {
  if (row) return row.compile_ms > 0 && h("p", { class: "strategy-reason" }, `Compiled before its runs in ${time(row.compile_ms)}.`);
  return plan?.compile_ms > 0 && h("p", { class: "strategy-reason" }, `The first call of a process compiles it, about ${time(plan.compile_ms)}.`);
}

/** The copies beside each run on a GPU; nothing where there are none. */
function copying(row) {
  return row?.upload_ms > 0 && h("p", { class: "strategy-reason" }, `Beside a run, ${time(row.upload_ms)} to copy the operands to ${row.device} and ${time(row.download_ms)} to copy the result back.`);
}

/** The rates of a row in units of 10^9 a second. */
function rates({ gflops, gb_per_s }) {
  return `${rate(gflops)} GFLOP/s, ${rate(gb_per_s)} GB/s`;
}

/**
 * Strategies in order: those that ran, fastest first; those that can run; those that are skipped. One that the server
 * cannot run has an entry only beside that of the kept report, whose rows by key are `then`.
 */
function entriesOf({ precision, deterministic, strategies, plan, rows }, then) {
  const planned = plan?.strategies ?? strategies.map((each) => ({ strategy: each.name, device: "cpu", accepted: true, estimated_ms: null, reason: null }));
  const named = (each) => ({ strategy: each.strategy, device: each.device, precision: each.precision ?? precision, deterministic: each.deterministic ?? deterministic });
  const entries = planned.map((each) => ({ ...named(each), plan: each, row: rows.get(key(named(each))) }));
  for (const [name, row] of rows) if (!entries.some((entry) => key(entry) === name)) entries.push({ ...named(row), plan: null, row });
  const lacking = new Set(strategies.filter(({ available }) => !available).map(({ name }) => name));
  // The list of strategies is older than the plan: since then a device may have come back.
  const isHere = ({ strategy, row, plan: own }) => !lacking.has(strategy) || own?.available || (row && !row.skipped);
  const rank = ({ row, plan: own }) => (row && !row.skipped ? 0 : row?.skipped || own?.reason ? 2 : 1);
  return entries
    .filter((entry) => isHere(entry) || then.has(key(entry)))
    .map((entry, at) => ({ entry, at }))
    .sort((a, b) => rank(a.entry) - rank(b.entry) || (rank(a.entry) === 0 ? a.entry.row.median_ms - b.entry.row.median_ms : a.at - b.at))
    .map(({ entry }) => entry);
}

/** The log axis: whole decades around the times of strategies that can run. */
function axisOf(entries, then) {
  const kept = [...then.values()].map((row) => row.median_ms);
  const times = entries.flatMap(({ row, plan }) => [row?.median_ms, row?.min_ms, plan?.reason ? null : plan?.estimated_ms]).concat(kept).filter((ms) => ms > 0);
  if (times.length === 0) times.push(...entries.map(({ plan }) => plan?.estimated_ms).filter((ms) => ms > 0));
  if (times.length === 0) return { decades: [], at: () => 0 };
  const low = Math.floor(Math.log10(Math.min(...times)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...times))));
  const step = high - low > 6 ? 2 : 1;
  const decades = [];
  for (let power = low; power <= high; power += step) decades.push(10 ** power);
  return { decades, at: (ms) => Math.max(0, Math.min(100, (100 * (Math.log10(ms) - low)) / (high - low))) };
}

function placed(element, left) {
  element.style.left = `${left}%`;
  return element;
}

function track({ row, plan, then }, axis, view) {
  const ran = row && !row.skipped;
  const words = ran ? `median ${time(row.median_ms)}, middle half ${time(row.iqr_ms)}, ${row.runs} ${row.runs === 1 ? "run" : "runs"}` : plan?.estimated_ms ? `estimated ${time(plan.estimated_ms)}${plan.basis === "prior" ? ", not yet measured" : ""}` : "";
  const named = words ? { role: "img", "aria-label": words, title: words } : { "aria-hidden": "true" };
  const line = h("span", { class: `track${view.running && !row ? " waits" : ""}`, ...named });
  for (const ms of axis.decades) line.append(placed(h("i", { class: "tick" }), axis.at(ms)));
  if (plan?.estimated_ms) line.append(placed(h("i", { class: "ring" }), axis.at(plan.estimated_ms)));
  if (ran) {
    const bar = h("i", { class: "bar" });
    bar.style.width = `${axis.at(row.median_ms)}%`;
    const [low, high] = [axis.at(Math.max(row.min_ms, row.median_ms - row.iqr_ms / 2)), axis.at(row.median_ms + row.iqr_ms / 2)];
    const spread = placed(h("i", { class: "spread" }), low);
    spread.style.width = `${high - low}%`;
    line.append(bar, spread, placed(h("i", { class: "dot" }), axis.at(row.median_ms)));
  }
  if (then?.median_ms > 0) line.append(placed(h("i", { class: "then" }), axis.at(then.median_ms)));
  return line;
}

/** The outcome of a race that was stopped, in one sentence. */
export function stopped(rows) {
  const ran = [...rows.values()].filter((row) => !row.skipped).length;
  return `Stopped: ${ran} ${ran === 1 ? "strategy has" : "strategies have"} run.`;
}

/** The outcome of a finished race, and what it was judged by. */
export function verdict(report) {
  const ran = report.rows.filter((row) => !row.skipped);
  if (ran.length === 0) return "No strategy ran.";
  const right = ran.filter((row) => row.agrees);
  const wrong = ran.length - right.length;
  const agreed = wrong === 0 ? "All agree with the reference." : `${wrong} of ${ran.length} ${wrong === 1 ? "disagrees" : "disagree"} with the reference.`;
  const { method, checked, elements } = report.reference;
  const basis = `${checked.toLocaleString("en")} of ${elements.toLocaleString("en")} elements checked by ${method}.`;
  if (right.length === 0) return `${agreed} ${basis}`;
  const fastest = right.reduce((best, row) => (row.median_ms < best.median_ms ? row : best));
  const gain = fastest.speedup && fastest.strategy !== report.baseline ? `, ${factor(fastest.speedup)} as fast as ${report.baseline}` : "";
  return `${fastest.strategy}${naming(ran)(fastest)} is the fastest${wrong === 0 ? "" : " that agrees"}, at ${time(fastest.median_ms)}${gain}. ${reached(fastest, report)}${agreed} ${basis}`;
}

/** The shares of the machine that the fastest strategy and the baseline use; empty if its peak rates are unknown. */
function reached(fastest, report) {
  if (!fastest.peak_share) return "";
  const base = report.rows.find((row) => row.strategy === report.baseline && row.peak_share);
  const beside = base && base.strategy !== fastest.strategy ? `, ${base.strategy} ${share(base.peak_share)}` : "";
  return `Of what this machine could do, it uses ${share(fastest.peak_share)}${beside}. `;
}
