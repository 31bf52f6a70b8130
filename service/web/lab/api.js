// Requests to the service.

import { elementsOf } from "./npy.js";

/** A problem document as an error; `problem` is the document. */
export class ProblemError extends Error {
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

const KEY = "service-key"; // kept until the tab is closed, and never in the URL

/** The API key if one was given, else null. */
export function keyGiven() {
  return sessionStorage.getItem(KEY);
}

/** Sends `key` with every request from now on. */
export function giveKey(key) {
  sessionStorage.setItem(KEY, key);
}

/** The outcome of a promise of the network; a lost connection is a problem. */
async function connected(coming) {
  try {
    return await coming;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ProblemError({ title: "The service does not answer", detail: "no connection: is it running?", code: "unreachable" });
  }
}

async function send(path, options = {}) {
  const key = keyGiven();
  const response = await connected(fetch(path, key ? { ...options, headers: { ...options.headers, "X-API-Key": key } } : options));
  if (response.ok) return response;
  const problem = await response.json().catch(() => null);
  throw new ProblemError(problem ?? { title: `Status ${response.status}`, detail: response.statusText, code: "unreadable" });
}

/** The JSON document of a GET. */
export async function get(path) {
  return (await send(path)).json();
}

/** A plan. */
export async function plan(op, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return (await send(`${op}/plan`, { method: "POST", headers, body, signal })).json();
}

/**
 * A run: the envelope of the answer, its flat `values`, little-endian `bytes` if the response was
 * binary, and the milliseconds from sending to the last byte (`round_trip_ms`).
 */
export async function run({ path, headers, body }, accept, signal) {
  const began = performance.now();
  const response = await send(path, { method: "POST", headers: { ...headers, Accept: accept }, body, signal });
  if (accept === "application/json") {
    const answer = await response.json();
    const round_trip_ms = performance.now() - began;
    return { ...answer, values: numbersOf(answer.result), bytes: null, round_trip_ms, form: "JSON" };
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  const round_trip_ms = performance.now() - began;
  const shape = response.headers.get("X-Tensor-Shape");
  const result = { shape: shape ? shape.split(",").map(Number) : [], dtype: response.headers.get("X-Tensor-Dtype") };
  const envelope = JSON.parse(response.headers.get("X-Envelope"));
  return { ...envelope, result, values: elementsOf(result.dtype, bytes), bytes, round_trip_ms, form: "bytes" };
}

/** The answer to a chain, and the milliseconds from sending to its last byte (`round_trip_ms`). */
export async function chain(body) {
  const began = performance.now();
  const answer = await (await send("chain", { method: "POST", headers: { "Content-Type": "application/json" }, body })).json();
  return { ...answer, round_trip_ms: performance.now() - began };
}

const WORDS = { NaN, Infinity, "-Infinity": -Infinity };

/** Flat elements of nested data; strings become NaN, infinities or integers. */
function numbersOf({ shape, dtype, data }) {
  const read = (each) => (typeof each !== "string" ? each : each in WORDS ? WORDS[each] : BigInt(each));
  if (shape.length === 0 && !dtype.startsWith("complex")) return [read(data)];
  const flat = [data].flat(Infinity).map(read);
  if (!dtype.startsWith("complex")) return flat;
  return Array.from({ length: flat.length / 2 }, (_, index) => flat.slice(2 * index, 2 * index + 2));
}

/** A race: calls `onEvent(name, data)` for each event as it arrives, the last of them a report. */
export async function race({ path, headers, body }, onEvent, signal) {
  const response = await send(path, { method: "POST", headers: { ...headers, Accept: "text/event-stream" }, body, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let reported = false;
  for (;;) {
    const { value, done } = await connected(reader.read());
    if (done && reported) return;
    if (done) throw new ProblemError({ title: "The race has no outcome", detail: "the stream ended without a report", code: "no-report" });
    text += value;
    const events = text.split(/\r?\n\r?\n/);
    text = events.pop();
    for (const event of events) {
      const name = /^event: ?(.*)$/m.exec(event)?.[1];
      const data = /^data: ?(.*)$/m.exec(event)?.[1];
      if (name === "problem") throw new ProblemError(JSON.parse(data));
      reported ||= name === "report";
      if (name && data) onEvent(name, JSON.parse(data));
    }
  }
}
