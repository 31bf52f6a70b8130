// A call as an HTTP request: address, headers and body, in JSON or as bytes.

import { elements } from "./format.js";
import { DTYPES, promote } from "./npy.js";
import { wireFields } from "./operations.js";

const JSON_TYPE = "application/json";
const BYTES_TYPE = "application/x-safetensors";
const SHORT = 4096; // elements up to which operands and results are sent as JSON, unless it is chosen otherwise

/** Returns whether a call is sent as bytes: by choice, or because its operands are large, if bytes hold them. */
export function asBytes(state, tensors) {
  if (state.body === "json") return false;
  if (state.body === "auto" && tensors.reduce((sum, tensor) => sum + elements(tensor.shape), 0) <= SHORT) return false;
  const dtypes = dtypesOf(state, tensors);
  return tensors.every((tensor, index) => DTYPES[dtypes[index]]?.tensors && tensor.holds(dtypes[index]));
}

/** The dtype of each operand: as it states, else that of the call, else what the others are promoted to. */
export function dtypesOf(state, tensors) {
  const stated = tensors.flatMap((tensor) => tensor?.dtype ?? []);
  const plain = state.dtype || (stated.length > 0 ? promote(stated) : "float32");
  return tensors.map((tensor) => tensor?.dtype ?? plain);
}

/** The body of a plan, with shapes for operands. */
export function planBody(state, tensors) {
  const shapes = tensors.map(({ shape, dtype }) => (dtype ? { shape, dtype } : { shape }));
  return JSON.stringify({ ...named(state, shapes), ...wireFields(state) });
}

function named(state, values) {
  if (state.op === "matmul") return { a: values[0], b: values[1] };
  return state.op === "norm" ? { x: values[0] } : { operands: values };
}

/**
 * The request as `{path, headers, body}`; `extra` are more fields, such as those of a race.
 * @param {object} state @param {object[]} tensors
 */
export function request(state, tensors, suffix = "", extra = {}) {
  const fields = { ...wireFields(state), ...extra };
  if (!asBytes(state, tensors)) {
    return { path: state.op + suffix, headers: { "Content-Type": JSON_TYPE }, body: jsonBody(state, tensors, fields) };
  }
  const query = Object.entries(fields).map(([name, value]) => {
    const text = typeof value === "object" ? JSON.stringify(value) : String(value);
    return `${name}=${encodeURIComponent(text)}`;
  });
  const path = state.op + suffix + (query.length > 0 ? `?${query.join("&")}` : "");
  return { path, headers: { "Content-Type": BYTES_TYPE }, body: safetensors(state, tensors) };
}

/** The JSON of a call; the literals of typed operands are as they were typed. */
function jsonBody(state, tensors, fields) {
  const operands = tensors.map((tensor) => {
    const data = tensor.json();
    const shape = `"shape":${JSON.stringify(tensor.shape)}`;
    if (tensor.dtype) return `{${shape},"dtype":"${tensor.dtype}","data":${data}}`;
    return elements(tensor.shape) === 0 ? `{${shape},"data":[]}` : data; // lists end at an axis of size 0
  });
  const parts = state.op === "matmul" ? [`"a":${operands[0]}`, `"b":${operands[1]}`]
    : state.op === "norm" ? [`"x":${operands[0]}`] : [`"operands":[${operands.join(",")}]`];
  for (const [name, value] of Object.entries(fields)) parts.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`);
  return `{${parts.join(", ")}}`;
}

/** The operands as one safetensors file: length of the header, header, bytes. */
function safetensors(state, tensors) {
  const names = state.op === "matmul" ? ["a", "b"] : state.op === "norm" ? ["x"] : tensors.map((_, index) => String(index));
  const dtypes = dtypesOf(state, tensors);
  const header = {};
  let end = 0;
  tensors.forEach((tensor, index) => {
    const from = end;
    end += elements(tensor.shape) * DTYPES[dtypes[index]].size;
    header[names[index]] = { dtype: DTYPES[dtypes[index]].tensors, shape: tensor.shape, data_offsets: [from, end] };
  });
  const text = JSON.stringify(header);
  const head = new TextEncoder().encode(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = new BigUint64Array([BigInt(head.length)]);
  return new Blob([length, head, ...tensors.map((tensor, index) => tensor.bytes(dtypes[index]))]);
}

/** The media type to ask for: bytes if the result is large, else JSON. */
export function accept(state, plan, tensors) {
  if (state.body === "json") return JSON_TYPE;
  const large = (plan?.result.elements ?? 0) > SHORT;
  return large || (state.body === "bytes" && asBytes(state, tensors)) ? "application/octet-stream" : JSON_TYPE;
}
