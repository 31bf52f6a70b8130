// Changes of the state that correct a problem: each rule matches a hint of the service and returns the
// changed parts of the state. A hint that matches no rule is shown as text.

import { operandPointer } from "./operations.js";
import { parse, TextError } from "./text.js";
import { transposedOperand } from "./operand.js";

/** The operand that a pointer such as /a/0/1 or /operands/1 names, and the rest of it; null for another. */
function operandAt(state, pointer) {
  for (const index of state.operands.keys()) {
    const own = operandPointer(state, index);
    if (pointer === own || pointer.startsWith(`${own}/`)) {
      return { index, place: pointer.slice(own.length).split("/").filter(Boolean).map(Number) };
    }
  }
  return null;
}

const withOperand = (state, index, operand) => operand && { operands: state.operands.with(index, operand) };

const RULES = [
  // einsum's equation, repaired
  [/'([^']+)' can be read/, (state, [, equation]) => ({ params: { ...state.params, equation } })],
  [/^the operands fit the other way round/, (state) => ({ operands: state.operands.toReversed() })],
  [/^([ab]) transposed/, (state, [, name]) => withOperand(state, "ab".indexOf(name), transposedOperand(state.operands["ab".indexOf(name)]))],
  [/^operand (\d+) transposed/, (state, [, index]) => withOperand(state, Number(index), transposedOperand(state.operands[index]))],
  [/^(\([\d, ]*\)) (transposed|with an axis added last) is/, (state, [, shape, how], problem, shapes) => {
    const index = shapes.findIndex((each) => each === shape);
    if (index < 0) return null;
    if (how === "transposed") return withOperand(state, index, transposedOperand(state.operands[index]));
    const views = state.operands.map((_, i) => state.views[i] ?? "");
    const before = views[index].trim() || "...";
    return { views: views.with(index, `${before.includes("...") ? before : `${before},...`},None`) };
  }],
  [/"dtype": "(\w+)"/, (state, [, dtype]) => ({ dtype })],
  [/"kind": "vector"/, (state) => ({ params: { ...state.params, kind: "vector" } })],
  [/"optimize": "auto"/, (state) => ({ params: { ...state.params, optimize: "auto" } })],
  [/"device": "([\w:]+)"/, (state, [, device]) => ({ device })],
  [/"precision": "(\w+)"/, (state, [, precision]) => ({ precision })],
  [/the string "NaN"/, (state, _, problem) => replaced(state, problem, "NaN")],
  [/^numbers stand without quotes/, (state, _, problem) => unquoted(state, problem)],
  [/^did you mean '([^']+)'/, (state, [, word], problem) => meant(state, word, problem)],
];

/**
 * Corrections of a problem: `[{label, changes}]`. `shapes` are those of the operands in Python's notation.
 */
export function remedies(problem, state, shapes = []) {
  const hint = problem.hint ?? "";
  const able = /^these (?:take it|are admitted): (.+)$/.exec(hint);
  if (able) {
    // In the order of the registry: the last are the fastest. A name may be followed by its estimate.
    const names = able[1].split(", ").slice(-3).reverse();
    return names.map((each) => ({ label: `Use ${each}`, changes: { strategy: /^\w+/.exec(each)[0] } }));
  }
  for (const [pattern, apply] of RULES) {
    const match = pattern.exec(hint);
    const changes = match && apply(state, match, problem, shapes);
    if (changes) return [{ label: hint, changes }];
  }
  return [];
}

function meant(state, word, problem) {
  const name = problem.errors?.[0]?.pointer.slice(1) ?? { "unknown-strategy": "strategy", "device-unavailable": "device" }[problem.code];
  if (name === undefined) return null;
  if (["strategy", "device", "dtype", "precision"].includes(name)) return { [name]: word };
  return name in state.params ? { params: { ...state.params, [name]: word } } : null;
}

/** The literal that a problem points at, found in the text of a typed operand. */
export function literalAt(state, pointer) {
  const found = operandAt(state, pointer);
  const operand = found && state.operands[found.index];
  if (!operand || !["text", "long"].includes(operand.kind)) return null;
  try {
    const { shape, starts, ends } = parse(operand.text);
    const place = [...found.place, ...new Array(Math.max(0, shape.length - found.place.length)).fill(0)];
    const at = place.reduce((sum, position, axis) => sum * (shape[axis] ?? 1) + position, 0);
    if (found.place.length === 0 || starts[at] === undefined) return null;
    return { ...found, start: starts[at], end: ends[at] };
  } catch (error) {
    if (error instanceof TextError) return null;
    throw error;
  }
}

function replaced(state, problem, word) {
  const at = literalAt(state, problem.errors?.[0]?.pointer ?? "");
  if (!at) return null;
  const operand = state.operands[at.index];
  return withOperand(state, at.index, { ...operand, text: operand.text.slice(0, at.start) + word + operand.text.slice(at.end) });
}

function unquoted(state, problem) {
  const at = literalAt(state, problem.errors?.[0]?.pointer ?? "");
  if (!at) return null;
  const word = state.operands[at.index].text.slice(at.start, at.end);
  const bare = word.replace(/^["']|["']$/g, "");
  return bare === word ? null : replaced(state, problem, bare);
}
