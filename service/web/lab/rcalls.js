// Calls that make an array in R: c(1, 2), matrix(1:4, nrow = 2), array(1:8, dim = c(2, 2, 2)), structure(...).

import { Elements, TextError } from "./numbers.js";

const CALL = /^\s*(?:c\(|structure\(|matrix\(\s*(?:c\(|[-\d])|array\(\s*(?:c\(|-?\d+L?:))/;
const TOKEN = /\s+|[(),=]|"[^"]*"|'[^']*'|[^\s(),=]+/y;
const RANGE = /^(-?\d+)L?:(-?\d+)L?$/;
const LONGEST = 2 ** 20; // of all ranges together

/** Returns whether a text is such a call. */
export const isCall = (text) => CALL.test(text);

/** Parses the call. R stores columns one after another. */
export function call(text) {
  const tokens = [];
  for (let at = 0; at < text.length; at = TOKEN.lastIndex) {
    TOKEN.lastIndex = at;
    const word = TOKEN.exec(text)?.[0];
    if (word === undefined) throw new TextError("a quote is not closed", at, at + 1);
    if (word.trim() !== "") tokens.push({ word, at, end: at + word.length });
  }
  const parser = new Parser(tokens, text.length);
  const made = parser.value();
  parser.finish();
  const { name, args } = made;
  if (name === "c" || name === undefined) {
    const elements = filled(made);
    return elements.reading([elements.length], ["from c(…) of R"]);
  }
  if (args.length === 0) throw new TextError(`${name}() has no numbers`, made.at, made.end);
  const { data, sizes, byrow } = sizesOf(name, args);
  const elements = filled(data);
  if (!sizes.every((size) => Number.isInteger(size) && size >= 0)) throw new TextError(`${elements.length} numbers do not fill whole rows and columns`, data.at, data.end);
  const count = sizes.reduce((product, size) => product * size, 1);
  if (elements.length !== count) throw new TextError(`${elements.length} numbers do not fill ${sizes.join("×")}`, data.at, data.end);
  const steps = sizes.map((_, axis) => sizes.slice(0, axis).reduce((product, size) => product * size, 1));
  const order = Array.from({ length: count }, (_, index) => {
    if (byrow) return index;
    let rest = index;
    let from = 0;
    for (let axis = sizes.length - 1; axis >= 0; axis -= 1) {
      from += (rest % sizes[axis]) * steps[axis];
      rest = Math.floor(rest / sizes[axis]);
    }
    return from;
  });
  return elements.ordered(order).reading(sizes, [`from ${name}(…) of R, ${byrow ? "rows first" : "columns first"}`]);
}

/** Data, sizes and order of matrix(), array() or structure(). */
function sizesOf(name, args) {
  const get = (word, position) => args.find((arg) => arg.key === word)?.value ?? args.filter((arg) => arg.key === null)[position]?.value;
  const whole = (value) => (value === undefined ? undefined : filled(value).literals.map(Number));
  const data = get("data", 0) ?? get(".Data", 0);
  if (data === undefined) throw new TextError(`${name}() has no numbers`, args[0].value.at, args[0].value.end);
  if (name !== "matrix") {
    const sizes = whole(get("dim", 1) ?? args.find((arg) => arg.key === ".Dim")?.value);
    return { data, sizes: sizes ?? [filled(data).length], byrow: false };
  }
  const length = filled(data).length;
  const [rows, columns] = [whole(get("nrow", 1))?.[0], whole(get("ncol", 2))?.[0]];
  const own = rows ?? (columns === undefined ? length : length / columns);
  const byrow = /^T(?:RUE)?$/.test(get("byrow", 3)?.word ?? "");
  return { data, sizes: [own, columns ?? length / own], byrow };
}

/** The numbers of c(...), of a range, or one number. */
function filled(value) {
  const elements = new Elements();
  const visit = (each) => {
    if (each.name !== undefined) return each.args.forEach((arg) => visit(arg.value));
    const range = RANGE.exec(each.word);
    if (!range) return elements.add(each.word.replace(/^T$/, "TRUE").replace(/^F$/, "FALSE"), each.at, each.end);
    const [from, to] = [Number(range[1]), Number(range[2])];
    if (elements.length + Math.abs(to - from) >= LONGEST) throw new TextError("this range is too long", each.at, each.end);
    for (let at = from; from <= to ? at <= to : at >= to; at += from <= to ? 1 : -1) elements.add(String(at), each.at, each.end);
  };
  visit(value);
  return elements;
}

/** A parser of names, numbers and calls with arguments. */
class Parser {
  #tokens;
  #at = 0;
  #length;

  constructor(tokens, length) {
    this.#tokens = tokens;
    this.#length = length;
  }

  get #next() {
    return this.#tokens[this.#at] ?? { word: "", at: this.#length, end: this.#length };
  }

  value() {
    const { word, at, end } = this.#next;
    if (/^[(),=]?$/.test(word)) throw new TextError(word === "" ? "a ) is missing" : "a number is missing here", at, end);
    this.#at += 1;
    if (this.#next.word !== "(") return { word, at, end };
    if (!["c", "matrix", "array", "structure"].includes(word)) throw new TextError(`${word}() is not read, but c, matrix, array and structure are`, at, end);
    this.#at += 1;
    const args = [];
    while (this.#next.word !== ")") {
      const key = this.#tokens[this.#at + 1]?.word === "=" ? this.#next.word : null;
      if (key !== null) this.#at += 2;
      args.push({ key, value: this.value() });
      if (this.#next.word === ",") this.#at += 1;
      else if (this.#next.word !== ")") throw new TextError("a comma or ) is missing here", this.#next.at, this.#next.end);
    }
    const close = this.#next;
    this.#at += 1;
    return { name: word, args, at, end: close.end };
  }

  finish() {
    const { word, at, end } = this.#next;
    if (word !== "") throw new TextError(`nothing may follow the last parenthesis: '${word}'`, at, end);
  }
}
