// The outcome of each step of the tour, in one sentence with its number. Nothing is written down ahead: each
// function takes what the page knows of the call, and returns null while that is too little.
//
// Known are `{state, tensors, letters, plan, answer, report, race, problem}`: what has not come yet is missing.

import { h } from "./dom.js";
import { bytes, count, distance, exact, factor, time, tuple } from "./format.js";
import { operandNames, operandPointer } from "./operations.js";
import { axisSizes } from "./plan.js";

const LISTED = 4; // elements that are named one by one
const UNBROKEN = 20; // characters of a number with its unit, which stay on one line

const strong = (text) => h("strong", {}, text.length < UNBROKEN ? text.replaceAll(" ", "\u00a0") : text);
const many = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;
const ranIn = (report) => report.rows.filter((row) => !row.skipped);
const least = (rows, ms) => rows.reduce((best, row) => (ms(row) < ms(best) ? row : best));

/** The fastest strategy of a race, against the baseline. */
export function fastest({ report }) {
  const right = report && ranIn(report).filter((row) => row.agrees);
  if (!right?.length) return null;
  const first = least(right, (row) => row.median_ms);
  const gain = first.strategy !== report.baseline && first.speedup;
  return [strong(`${first.strategy} took ${time(first.median_ms)}`), gain && [", ", strong(factor(gain).replace(" ×", " times")), ` less than ${report.baseline}`], "."];
}

/** The greatest error of a race, and how many strategies agree in spite of it. */
export function agreement({ report, race }) {
  const ran = report ? ranIn(report) : [];
  if (ran.length === 0) return null;
  const size = ({ max_abs_error: error }) => (typeof error === "string" ? Infinity : error);
  const worst = least(ran, (row) => -size(row));
  const wrong = ran.filter((row) => !row.agrees).length;
  const said = wrong === 0 ? `all ${ran.length} agree` : `${wrong} of ${ran.length} ${wrong === 1 ? "disagrees" : "disagree"}`;
  return ["The greatest error is ", strong(distance(worst.max_abs_error)), `, by ${worst.strategy}: within rtol ${race.rtol} and atol ${race.atol} `, strong(said), "."];
}

/** The numbers of a short result. */
export function numbers({ answer }) {
  if (!answer || answer.values.length > LISTED) return null;
  return [`${answer.strategy} gives `, strong(Array.from(answer.values, (value) => exact(value, answer.result.dtype)).join(", ")), "."];
}

/** Strides of the operand that repeats most, and its bytes. */
export function strides({ state, plan }) {
  const operands = plan?.broadcast?.operands;
  if (!operands) return null;
  const index = operands.indexOf(least(operands, (operand) => operand.stored_bytes / operand.apparent_bytes));
  const { expanded_strides: after, stored_bytes: stored, apparent_bytes: apparent } = operands[index];
  return [`${operandNames(state)[index]} has strides ${tuple(after)}: it stores `, strong(bytes(stored)), stored === apparent ? ", and repeats nothing." : [" and looks like ", strong(bytes(apparent)), "."]];
}

/** Elements of a result against the numbers that it was made from: the last of them, or how many are true. */
export function comparison({ answer, tensors }) {
  if (!answer || answer.values.length === 0) return null;
  const { values, result } = answer;
  const size = values.length;
  if (result.dtype === "bool") return [strong(`${values.filter(Boolean).length} of ${many(size, "element")}`), " are true."];
  const given = tensors.reduce((sum, { shape }) => sum + shape.reduce((product, each) => product * each, 1), 0);
  return [`${many(size, "element")} from ${many(given, "number")}: the last, ${place(result.shape)}, is `, strong(exact(values.at(-1), result.dtype)), "."];
}

/** The work of a path against that of all loops at once; of a single step, its work and last element. */
export function contraction({ answer, letters, plan, tensors }) {
  if (!plan) return null;
  const work = many(plan.work.multiply_adds, "multiply-add");
  if (plan.path?.length > 1) {
    const all = [...axisSizes(letters, tensors.map(({ shape }) => shape)).values()].reduce((product, size) => product * size, 1);
    return ["The path takes ", strong(work), `, ${factor(all / plan.work.multiply_adds).replace(" ×", " times")} less than all loops at once.`];
  }
  if (!answer || answer.values.length === 0) return null;
  const { values, result } = answer;
  return [`${work}: ${result.shape.length === 0 ? "the one element" : `the last element, ${place(result.shape)},`} is `, strong(exact(values.at(-1), result.dtype)), "."];
}

/** The sizes, the place or the time in a problem; of a plan that would be refused, its time against the fastest. */
export function refusal({ state, plan, problem }) {
  const refused = plan && !plan.accepted && plan.strategies.find(({ strategy, estimated_ms: ms }) => strategy === state.strategy && ms);
  const able = refused ? plan.strategies.filter(({ accepted }) => accepted) : [];
  if (able.length > 0) {
    const best = least(able, (each) => each.estimated_ms);
    return [strong(`${refused.strategy} would take ${time(refused.estimated_ms)}`), `, ${best.strategy} about `, strong(time(best.estimated_ms)), "."];
  }
  if (!problem) return null;
  const [first] = problem.errors ?? [];
  const index = state.operands.findIndex((_, each) => operandPointer(state, each) === first?.pointer);
  // Of an operand the first error says it in short; else the first clause of the detail does.
  return [strong(index >= 0 ? `${operandNames(state)[index]}: ${first.detail}` : problem.detail.split(";")[0]), "."];
}

/** The time of a chain's steps. */
export function chained({ chain }) {
  if (!chain) return null;
  const computed = chain.steps.reduce((sum, step) => sum + step.compute_ms, 0);
  return [`${chain.steps[0].strategy} computes the ${many(chain.steps.length, "step")} in `, strong(time(computed)), `, in one request of ${time(chain.timing.total_ms)}.`];
}

/** The place of the last element. */
function place(shape) {
  return `c[${shape.map((size) => size - 1).join(", ")}]`;
}
