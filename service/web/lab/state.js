// The complete state of the page, and its form in the URL.
//
// It is the part after the #, so it is never sent to the service, and may be long.

import { FIELDS } from "./operations.js";
import { describe, generated, serial, typed, undescribe } from "./operand.js";

/** First operands of each operation. */
const STARTS = {
  matmul: { operands: [typed("1 2\n3 4"), typed("5 6\n7 8")] },
  einsum: { operands: [typed("1 2\n3 4"), typed("5 6\n7 8")] },
  norm: { operands: [typed("1 2 3\n4 5 6\n7 8 9")] },
  broadcast: { operands: [typed("10 10 10\n20 20 20\n30 30 30"), typed("1 2 3")] },
};
/** Fields of every call, and how the operands are sent. */
const COMMON = ["strategy", "device", "dtype", "precision", "deterministic", "body"];
/** Fields of a race; null for a list that is not sent. */
const RACE = { strategies: null, precisions: null, repeat: "20", budget_ms: "1000", baseline: "", rtol: "1e-3", atol: "1e-5" };

/** The initial state of an operation. */
export function start(op) {
  return {
    op,
    operands: STARTS[op]?.operands ?? [generated("random", [4, 4])],
    views: [],
    params: Object.fromEntries((FIELDS[op] ?? []).map(({ name, start: value }) => [name, value])),
    strategy: "auto",
    device: "auto",
    dtype: "",
    precision: "ieee",
    deterministic: "false",
    body: "auto",
    race: RACE,
    view: "",
    tour: 0,
  };
}

/** The state as the part of a URL after its #. Values of the initial state are left out. */
export function encode(state) {
  const plain = start(state.op);
  const words = new URLSearchParams({ op: state.op });
  for (const operand of state.operands) words.append("x", describe(operand));
  for (const [name, value] of Object.entries(state.params)) {
    if (value !== plain.params[name]) words.set(`p.${name}`, value);
  }
  if (state.views.some(Boolean)) for (const index of state.operands.keys()) words.append("view", state.views[index] ?? "");
  for (const name of COMMON) {
    if (state[name] !== plain[name]) words.set(name, state[name]);
  }
  for (const [name, value] of Object.entries(state.race)) {
    if (value !== RACE[name]) words.set(`race.${name}`, value);
  }
  if (state.view) words.set("show", state.view);
  if (state.tour) words.set("tour", String(state.tour));
  // Readable where possible: what would end or split the URL, or a browser escapes again, stays escaped.
  return words.toString().replace(/%(5B|5D|2C|3A|3B|2F)/g, (escaped) => decodeURIComponent(escaped));
}

/** Parses the part of a URL after its #; null if it names no operation of `ops`. */
export function decode(text, ops) {
  const words = new URLSearchParams(text.replace(/^#/, ""));
  const op = words.get("op");
  if (!ops.includes(op)) return null;
  const state = start(op);
  if (words.has("x")) state.operands = words.getAll("x").map(undescribe);
  state.views = words.getAll("view");
  for (const name of Object.keys(state.params)) state.params[name] = words.get(`p.${name}`) ?? state.params[name];
  for (const name of COMMON) state[name] = words.get(name) ?? state[name];
  state.race = Object.fromEntries(Object.entries(RACE).map(([name, value]) => [name, words.get(`race.${name}`) ?? value]));
  for (const name of ["strategies", "precisions"]) state.race[name] = state.race[name]?.split(",").filter(Boolean) ?? null;
  if (["run", "race"].includes(words.get("show"))) state.view = words.get("show");
  const tour = Number(words.get("tour"));
  if (Number.isInteger(tour) && tour > 0) state.tour = tour;
  return state;
}

/** The part of the state that identifies the call: a result with another key is out of date. */
export function callKey(state) {
  return `${encode({ ...state, view: "", tour: 0, race: RACE })} ${state.operands.map(serial)}`;
}

/** The state, and listeners that are called after each change. */
export class Store {
  #listeners = [];

  constructor(state) {
    this.state = state;
  }

  /** Calls `listener(state, before)` after each change. */
  listen(listener) {
    this.#listeners.push(listener);
  }

  /** Changes some parts. `visit` adds an entry to the history of the browser. */
  set(changes, { visit = false } = {}) {
    const before = this.state;
    this.state = { ...before, ...changes };
    const url = `#${encode(this.state)}`;
    // In a frame Back belongs to the page around it.
    if (url !== location.hash) history[visit && window.top === window ? "pushState" : "replaceState"](null, "", url);
    for (const listener of this.#listeners) listener(this.state, before);
  }

  /** Changes one operand. */
  setOperand(index, operand) {
    this.set({ operands: this.state.operands.with(index, operand) });
  }

  /** Changes one field of the operation. */
  setParam(name, value) {
    this.set({ params: { ...this.state.params, [name]: value } });
  }
}
