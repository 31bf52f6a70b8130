// Fields of each operation besides its operands, and the symbols of its calls.
//
// Names and choices are those of the service; a test compares them with its OpenAPI document.

import { readShape } from "./operand.js";

export const DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool", "complex64", "complex128"];

const SYMBOLS = { add: "+", sub: "\u2212", mul: "×", div: "÷", pow: "^", maximum: "max", minimum: "min", eq: "=", ne: "≠", lt: "<", le: "≤", gt: ">", ge: "≥", relu: "relu", exp: "exp", neg: "\u2212", abs: "| |", sqrt: "√" };

/** Fields by operation: `wire` converts the typed text to the value that is sent; undefined omits it. */
export const FIELDS = {
  matmul: [],
  einsum: [
    { name: "equation", wide: true, start: "ik,kj->ij", wire: (text) => text },
    { name: "optimize", choices: ["auto", "greedy", "optimal", "none"], start: "auto", wire: (text) => (text === "auto" ? undefined : jsonOr(text)) },
  ],
  norm: [
    { name: "ord", start: "", note: "2, fro, inf", wire: (text) => (text === "" ? undefined : jsonOr(text)) },
    { name: "dim", start: "", note: "0 or 0,1", wire: (text) => integers(text) },
    { name: "kind", choices: ["auto", "vector", "matrix"], start: "auto", wire: (text) => (text === "auto" ? undefined : text) },
    { name: "keepdim", choices: ["false", "true"], start: "false", wire: (text) => (text === "true" ? true : undefined) },
  ],
  broadcast: [
    { name: "op", choices: [["", "expand"], ...Object.entries(SYMBOLS).map(([name, sign]) => [name, `${name}  ${sign}`])], start: "add", wire: (text) => text || undefined },
    { name: "to", start: "", note: "e.g. 3x3", wire: (text) => (text.trim() === "" ? undefined : readShape(text) ?? text) },
  ],
};

function jsonOr(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function integers(text) {
  if (text.trim() === "") return undefined;
  const words = text.replace(/^\s*[[(]|[\])]\s*$/g, "").split(/[\s,]+/).filter(Boolean);
  if (!words.every((word) => /^-?\d+$/.test(word))) return text;
  return words.length === 1 && !text.includes("[") ? Number(words[0]) : words.map(Number);
}

/** Names of the operands of a call. */
export function operandNames(state) {
  if (state.op === "matmul") return ["a", "b"];
  if (state.op === "norm") return ["x"];
  return state.operands.map((_, index) => `x${index}`);
}

/** Pointer of an operand in a request: /a, or /operands/1. */
export function operandPointer(state, index) {
  return state.op === "matmul" ? `/${"ab"[index]}` : state.op === "norm" ? "/x" : `/operands/${index}`;
}

/** Least and most operands of an operation on this page. */
export function operandRange(op) {
  return op === "matmul" ? [2, 2] : op === "norm" ? [1, 1] : [1, 6];
}

/** The sign between operands. */
export function sign(state) {
  if (state.op === "matmul") return "@";
  if (state.op === "einsum") return ",";
  return state.op === "broadcast" ? (SYMBOLS[state.params.op] ?? "") : "";
}

/** Fields of a request that are not operands. */
export function wireFields(state) {
  const fields = {};
  for (const { name, wire } of FIELDS[state.op] ?? []) {
    const value = wire(state.params[name] ?? "");
    if (value !== undefined) fields[name] = value;
  }
  if (state.op === "broadcast" && state.views.some((view) => view.trim() !== "")) {
    fields.views = state.operands.map((_, index) => state.views[index]?.trim() || null);
  }
  if (state.strategy !== "auto") fields.strategy = state.strategy;
  if (state.device !== "auto") fields.device = state.device;
  if (state.dtype !== "") fields.dtype = state.dtype;
  if (state.precision !== "ieee") fields.precision = state.precision;
  if (state.deterministic !== "false") fields.deterministic = jsonOr(state.deterministic);
  return fields;
}
