// Reader of typed and pasted tensors, and writer of tensors as text to edit.

import { literal, isLiteral } from "./nested.js";
import { TextError } from "./numbers.js";
import { printed, withoutSize } from "./printed.js";
import { call, isCall } from "./rcalls.js";
import { table } from "./table.js";

export { TextError };

const ABRIDGED = /\.\.\.|[…⋮⋯⋱]/;
const PROMPT = /^\s*(?:(?:Out|In) ?\[\d+\]:|>>>|>>|julia>|>)/;
const SEP = /^sep=.[^\S\n]*(?=\n)/i; // a first line that Excel reads
const ASSIGNED = /^(\s*)[A-Za-z_.][\w.]*[^\S\n]*(?:=|<-)[^\S\n]*(?=[^\s=])(?![\d]+[×x]\d)/;
const blank = (found) => " ".repeat(found.length);

/**
 * Parses a tensor to `{shape, literals, starts, ends, complex, dtype, said}` in row-major order; `literals` are JSON,
 * `starts` and `ends` their places in the text, `dtype` is what the text states, `said` how it was read.
 * Complex numbers are pairs on a last axis. Throws a TextError with the position of a mistake.
 * @param {string} text
 */
export function parse(text) {
  const plain = tidy(text);
  if (plain.trim() === "") throw new TextError("nothing here yet: type rows of numbers, such as 1 2 3", 0, 0);
  const gap = ABRIDGED.exec(plain);
  if (gap) throw new TextError(`the text is abridged: '${gap[0]}' stands for numbers that it does not have`, gap.index, gap.index + gap[0].length);
  const own = plain.replace(SEP, blank).replace(PROMPT, blank).replace(ASSIGNED, blank);
  if (isCall(own)) return call(own);
  return printed(own) ?? (isLiteral(own) ? literal(own) : table(withoutSize(own)));
}

/** The text with one kind of line end, blank and minus, each character at its place. */
function tidy(text) {
  return text
    .replace(/\r\n/g, " \n")
    .replace(/[\r\v\f\u0085\u2028\u2029]/g, "\n")
    .replace(/\u2212/g, "-")
    .replace(/(?<!\d)[\u00a0\u2007\u2009\u202f]|[\u00a0\u2007\u2009\u202f](?!\d{3}(?!\d))|\ufeff/g, " "); // not 1 000
}

/** A tensor as text to edit: lines up to rank 2, brackets for higher ranks. */
export function write(shape, literals) {
  const words = literals.map((each) => each.replaceAll('"', ""));
  if (shape.length === 0) return words[0] ?? "";
  if (shape.includes(0)) return "[".repeat(shape.length) + "]".repeat(shape.length);
  if (shape.length === 1) return shape[0] === 1 ? `[${words[0]}]` : words.join(" ");
  if (shape.length === 2) {
    const width = words.reduce((most, word) => Math.max(most, word.length), 0);
    const lines = Array.from({ length: shape[0] }, (_, row) =>
      words.slice(row * shape[1], (row + 1) * shape[1]).map((word) => word.padStart(width)).join(" "));
    return lines.join("\n") + (shape[0] === 1 ? ";" : "");
  }
  return bracketed(shape, words);
}

/** Nested brackets around literals in row-major order: the JSON of a tensor if the literals are JSON. */
export function bracketed(shape, literals) {
  let level = literals;
  if (shape.length === 0) return level[0];
  for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
    const size = shape[axis];
    const next = [];
    const groups = shape.slice(0, axis).reduce((product, each) => product * each, 1);
    for (let group = 0; group < groups; group += 1) {
      next.push(`[${level.slice(group * size, (group + 1) * size).join(",")}]`);
    }
    level = next;
  }
  return level[0];
}

/** The line of `text` around a place, and the column of the place in it. */
export function excerpt(text, start, end) {
  const from = text.lastIndexOf("\n", start - 1) + 1;
  const to = text.indexOf("\n", start);
  const line = text.slice(from, to < 0 ? text.length : to);
  const shown = Math.max(0, start - from - 24); // a long line is cut before the place
  const piece = (shown > 0 ? "…" : "") + line.slice(shown, shown + 56);
  const column = start - from - shown + (shown > 0 ? 1 : 0);
  return { piece, column, width: Math.max(1, Math.min(end - start, piece.length - column)) };
}
