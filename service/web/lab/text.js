// Parser of typed and pasted tensors: nested brackets as in JSON or Python, or plain rows of numbers.
//
// Literals stay as they were typed, so that 9007199254740993 and 0.1 reach the service unchanged.

const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const LOOSE_NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const WORDS = new Map([
  ["nan", '"NaN"'], ["inf", '"Infinity"'], ["+inf", '"Infinity"'], ["-inf", '"-Infinity"'],
  ["infinity", '"Infinity"'], ["-infinity", '"-Infinity"'], ["∞", '"Infinity"'], ["-∞", '"-Infinity"'],
  ["true", "true"], ["false", "false"],
]);

/** A mistake in a text, with its start and end. */
export class TextError extends Error {
  constructor(message, start, end) {
    super(message);
    this.start = start;
    this.end = end;
  }
}

/**
 * Parses a tensor to `{shape, literals, starts}` in row-major order; `literals` are JSON, `starts` are
 * their positions in the text. Throws a TextError with the position.
 * @param {string} text
 */
export function parse(text) {
  if (text.trim() === "") throw new TextError("nothing here yet: type rows of numbers, such as 1 2 3", 0, 0);
  return text.trimStart().startsWith("[") ? nested(text) : rows(text);
}

/** A literal as JSON; throws a TextError if it is not a number. */
function literal(token, start) {
  if (JSON_NUMBER.test(token)) return token;
  const bare = token.replace(/^(["'])(.*)\1$/, "$2").replace(/^\u2212/, "-");
  const word = WORDS.get(bare.toLowerCase());
  if (word) return word;
  if (LOOSE_NUMBER.test(bare)) {
    if (bare !== token) return JSON.stringify(bare); // integers may be strings; the service decides
    return token.replace(/^\+/, "").replace(/^(-?)0+(?=\d)/, "$1").replace(/^(-?)\./, "$10.").replace(/\.(?!\d)/, "");
  }
  const missing = /^(null|none|na|n\/a)$/i.test(token) ? "; a number that is missing can be NaN" : "";
  throw new TextError(`'${clip(token)}' is not a number${missing}`, start, start + token.length);
}

function clip(token) {
  return token.length > 24 ? `${token.slice(0, 24)}…` : token;
}

/** Parses rows: lines or semicolons end them; commas, tabs and spaces separate numbers. */
function rows(text) {
  const literals = [];
  const starts = [];
  let columns = null;
  let height = 0;
  for (const line of text.matchAll(/[^\n;]+/g)) {
    if (line[0].trim() === "") continue;
    const before = literals.length;
    for (const token of line[0].matchAll(/[^\s,]+/g)) {
      const start = line.index + token.index;
      literals.push(literal(token[0], start));
      starts.push(start);
    }
    const width = literals.length - before;
    if (columns !== null && width !== columns) {
      throw new TextError(ragged(height, width, columns), line.index, line.index + line[0].trimEnd().length);
    }
    columns = width;
    height += 1;
  }
  if (height === 1 && columns === 1 && !/[,;]/.test(text)) return { shape: [], literals, starts };
  const flat = height === 1 && !text.includes(";");
  return { shape: flat ? [columns] : [height, columns], literals, starts };
}

function ragged(row, found, first) {
  return `row ${row} has ${found} ${found === 1 ? "item" : "items"}, row 0 has ${first}`;
}

/** Parses nested brackets. */
function nested(text) {
  const literals = [];
  const starts = [];
  const shape = [];
  const open = []; // for each open bracket, its position and its items so far
  let depth = null; // of the numbers
  let expectItem = true;
  let done = false;
  const token = /\s+|[[\](),]|"[^"]*"|'[^']*'|[^\s[\](),]+/y;
  for (let at = 0; at < text.length; at = token.lastIndex) {
    token.lastIndex = at;
    const found = token.exec(text)?.[0] ?? text[at];
    if (token.lastIndex === 0) token.lastIndex = at + 1;
    if (found.trim() === "") continue;
    if (done) throw new TextError(`nothing may follow the last bracket: '${clip(found)}'`, at, at + found.length);
    if (found === "[") {
      if (!expectItem) throw new TextError("a comma is missing here", at, at + 1);
      if (depth !== null && open.length >= depth) throw new TextError("a row where a number should be", at, at + 1);
      if (open.length > 0) open.at(-1).items += 1;
      open.push({ at, items: 0 });
    } else if (found === "]") {
      const closed = open.pop();
      close(closed, at);
      expectItem = false;
      done = open.length === 0;
      continue;
    } else if (found === ",") {
      if (expectItem) throw new TextError("a number is missing before this comma", at, at + 1);
      expectItem = true;
      continue;
    } else {
      if (!expectItem) throw new TextError("a comma is missing here", at, at + found.length);
      literals.push(literal(found, at));
      starts.push(at);
      if (depth !== null && depth !== open.length) throw new TextError("a number where a row should be", at, at + found.length);
      depth = open.length;
      open.at(-1).items += 1;
      expectItem = false;
      continue;
    }
    expectItem = true;
  }
  if (!done) throw new TextError(`${open.length} closing ${open.length === 1 ? "bracket is" : "brackets are"} missing`, text.length, text.length);
  return { shape, literals, starts };

  function close({ at, items }, end) {
    const level = open.length;
    if (level < (depth ?? 0) && items === 0) throw new TextError("a row is missing here", at, end + 1);
    if (shape[level] === undefined) shape[level] = items;
    else if (shape[level] !== items) {
      const row = open.length > 0 ? open.at(-1).items - 1 : 0;
      throw new TextError(ragged(row, items, shape[level]), at, end + 1);
    }
  }
}

/** A tensor as text to edit: lines up to rank 2, brackets for higher ranks. */
export function write(shape, literals) {
  const words = literals.map((each) => each.replaceAll('"', ""));
  if (shape.length === 0) return words[0] ?? "";
  if (shape.includes(0)) return "[".repeat(shape.length) + "]".repeat(shape.length);
  if (shape.length === 1) return shape[0] === 1 ? `[${words[0]}]` : words.join(" ");
  if (shape.length === 2) {
    const width = Math.max(...words.map((word) => word.length));
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
