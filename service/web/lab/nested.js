// Literals in brackets: JSON, Python, printed numpy arrays, array(...), tensor(...), and MATLAB's [1 2; 3 4].

import { DTYPES as KNOWN } from "./npy.js";
import { clip, COMPLEX, Elements, TextError } from "./numbers.js";

const OPEN = /^\s*(?:Parameter containing:\s*)?((?:[A-Za-z_]\w*\.)*(?:array|asarray|tensor|as_tensor|Tensor|Array|matrix))\(\s*(?=[-+\w.[(]|$)/;
const BRACKET = /^\s*(?:\[|\((?![^()[\],]*[ij]\s*\)))/; // (1+2j) is a number
const JULIA = /^\s*([A-Z]\w*(?:\{[^[\]]*\})?)(?=\[)/; // Float64[1.0, 2.0]
const OPTION = /\s*,\s*(?:(\w+)\s*=\s*)?('[^']*'|"[^"]*"|<[^>]*>|\([\d,\s]*\)|\[[\d,\s]*\]|[\w.]+)/y;
const TOKEN = new RegExp(
  String.raw`\s+|"[^"]*"|'[^']*'|[+-]?float\(\s*["'][^"']*["']\s*\)|(?:np|numpy|torch|jnp|math)\.\w+\((?:[^()]|\([^()]*\))*\)|\(\s*${COMPLEX}\s*\)|\(\s*[^\s()[\],;]+\s*\)|${COMPLEX}|[[\](),;]|[^\s[\](),;]+`,
  "y",
);
const SYNONYMS = { float: "float64", double: "float64", half: "float16", int: "int64", long: "int64", bool_: "bool", complex: "complex128", cfloat: "complex64", cdouble: "complex128" };
const WRAPPED = 60; // characters from which numpy may break the line of a vector

/** Returns whether a text is a literal in brackets, with or without the name of a type or a function. */
export function isLiteral(text) {
  return BRACKET.test(text) || OPEN.test(text) || JULIA.test(text);
}

/** Parses a literal. Positions are those in `text`. */
export function literal(text) {
  const open = OPEN.exec(text);
  const from = (open ?? JULIA.exec(text))?.[0].length ?? 0;
  const found = brackets(text, from);
  const { options, end } = open ? tail(text, found.end, open[1]) : { options: new Map(), end: found.end };
  const rest = /^[\s;]*/.exec(text.slice(end))[0].length + end;
  if (rest < text.length) throw new TextError(`nothing may follow the last bracket: '${clip(text.slice(rest).split(/\s/)[0])}'`, rest, text.length);
  const stated = options.get("dtype");
  const dtype = stated && (SYNONYMS[stated] ?? stated);
  const size = options.get("shape") ?? options.get("size");
  const shape = size && found.elements.length === 0 ? size.match(/\d+/g).map(Number) : found.shape;
  const known = !dtype || dtype in KNOWN;
  const said = [...(open ? [`from ${open[1]}(…)`] : []), ...found.said, ...(known ? [] : [`dtype ${dtype} not kept`])];
  return found.elements.reading(shape, said, known ? dtype : null);
}

/** The options after the brackets of array(…), and where its parenthesis ends. */
function tail(text, from, name) {
  const options = new Map();
  let end = from;
  for (;;) {
    OPTION.lastIndex = end;
    const option = OPTION.exec(text);
    if (!option) break;
    const value = option[2].replace(/^["']|["']$|^(?:torch|np|numpy|jnp)\./g, "");
    options.set(option[1] ?? "dtype", value);
    end = OPTION.lastIndex;
  }
  const close = /^\s*,?\s*\)/.exec(text.slice(end));
  if (!close) throw new TextError(`${name}( is not closed: a ) is missing`, end, end);
  return { options, end: end + close[0].length };
}

/** Parses brackets, or one number, from a position on. */
function brackets(text, from) {
  const tokens = tokensOf(text, from);
  const rowsEnd = tokens.some(({ word }) => word === ";");
  const commas = tokens.some(({ word }) => word === ",");
  return rowsEnd ? matrix(tokens, commas, text) : nested(tokens, commas, text);
}

/** The tokens up to the bracket that closes the first one. */
function tokensOf(text, from) {
  const tokens = [];
  let depth = 0;
  for (let at = from; at < text.length; at = TOKEN.lastIndex) {
    TOKEN.lastIndex = at;
    const word = TOKEN.exec(text)?.[0];
    if (word === undefined) throw new TextError(`'${text[at]}' opens a quote that is not closed`, at, at + 1);
    if (word.trim() === "") continue;
    tokens.push({ word, at, end: at + word.length });
    if (word === "[" || word === "(") depth += 1;
    if (word === "]" || word === ")") depth -= 1;
    if (depth <= 0) break;
  }
  if (depth > 0) throw new TextError(`${depth} closing ${depth === 1 ? "bracket is" : "brackets are"} missing`, text.length, text.length);
  return tokens;
}

function separated(commas, elements) {
  return elements.length < 2 ? [] : [`separated by ${commas ? "commas" : "blanks"}`];
}

function add(elements, { word, at, end }) {
  if (/^["']/.test(word)) elements.addQuoted(word, at, end);
  else elements.add(word, at, end);
}

/** Parses nested lists; numbers and rows are separated by commas, or all by blanks as numpy prints them. */
function nested(tokens, commas, text) {
  const elements = new Elements();
  const shape = [];
  const open = []; // for each open bracket, its position and its items so far
  let depth = null; // of the numbers
  let expectItem = true;
  for (const token of tokens) {
    const { word, at, end } = token;
    if (word === "]" || word === ")") {
      close(open.pop(), end);
      expectItem = false;
    } else if (word === ",") {
      if (expectItem) throw new TextError("a number is missing before this comma", at, end);
      expectItem = true;
    } else {
      if (!expectItem && commas) throw new TextError("a comma is missing here", at, end);
      const list = word === "[" || word === "(";
      if (list && depth !== null && open.length >= depth) throw new TextError("a row where a number should be", at, end);
      if (!list && depth !== null && depth !== open.length) throw new TextError("a number where a row should be", at, end);
      if (open.length > 0) open.at(-1).items += 1;
      if (list) open.push({ at, items: 0 });
      else {
        add(elements, token);
        depth = open.length;
      }
      expectItem = list;
    }
  }
  if (!commas && shape.length === 1) refuseLines(tokens, text);
  return { elements, shape, said: separated(commas, elements), end: tokens.at(-1)?.end ?? text.length };

  function close({ at, items }, end) {
    const level = open.length;
    if (level < (depth ?? 0) && items === 0) throw new TextError("a row is missing here", at, end);
    if (shape[level] === undefined) shape[level] = items;
    else if (shape[level] !== items) {
      const row = open.length > 0 ? open.at(-1).items - 1 : 0;
      throw new TextError(ragged(row, items, shape[level]), at, end);
    }
  }
}

/** Refuses a line break in a short vector, which may be rows of MATLAB or a vector that numpy wrapped. */
function refuseLines(tokens, text) {
  const [first, last] = [tokens[0].at, tokens.at(-1).end];
  const broken = text.slice(first, last).search(/\S[^\S\n]*\n\s*[^\s\]]/);
  if (broken < 0 || text.slice(first, last).indexOf("\n") >= WRAPPED) return;
  throw new TextError("a line ends inside the brackets: rows end with ; here, as in [1 2; 3 4]", first + broken, first + broken + 1);
}

/** Parses MATLAB's and Julia's rows, which end with semicolons or lines. */
function matrix(tokens, commas, text) {
  const elements = new Elements();
  const inner = tokens.slice(1, -1);
  let columns = null;
  let row = 0;
  let width = 0;
  let begin = tokens[0].end;
  const endRow = (at) => {
    if (width === 0) return;
    if (columns !== null && columns !== width) throw new TextError(ragged(row, width, columns), begin, at);
    columns = width;
    row += 1;
    width = 0;
  };
  let before = tokens[0];
  for (const token of inner) {
    const { word, at } = token;
    if (/^[[\]()]$/.test(word)) throw new TextError("brackets inside a matrix with semicolons", at, token.end);
    if (text.slice(before.end, at).includes("\n") && before.word !== ",") endRow(before.end);
    if (width === 0) begin = at;
    if (word === ";") endRow(at);
    else if (word === ",") {
      if (before.word === "," || width === 0) throw new TextError("a number is missing before this comma", at, token.end);
    } else {
      if (commas && width > 0 && before.word !== ",") throw new TextError("a comma is missing here", at, token.end);
      add(elements, token);
      width += 1;
    }
    before = token;
  }
  endRow(tokens.at(-1).at);
  return { elements, shape: [row, columns ?? 0], said: [...separated(commas, elements), "rows ended by semicolons"], end: tokens.at(-1).end };
}

/** A row of another length than the first. */
export function ragged(row, found, first) {
  return `row ${row} has ${found} ${found === 1 ? "item" : "items"}, row 0 has ${first}`;
}
