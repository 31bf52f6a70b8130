// Rows of numbers: CSV, cells of a spreadsheet, tables of pandas and R, or typed numbers.
//
// One separator holds for the whole text. An empty cell keeps its place.

import { COMPLEX, Elements, number, TextError, whyNot } from "./numbers.js";
import { ragged } from "./nested.js";

const QUOTED = /(?<=^|[\t;,\n]|[^\S\n])("(?:[^"]|"")*"|'[^'\n]*')(?=[^\S\n]*(?:$|[\t;,\n])|[^\S\n])/g;
const NAMES = { "\t": "tabs", ";": "semicolons", ",": "commas", " ": "blanks" };
const WORD = new RegExp(String.raw`${COMPLEX}|\S+`, "g");
const DECIMAL = /^[+-]?\d*,\d*(?:[eE][+-]?\d+)?%?$/;
const THOUSANDS = /^[+-]?[1-9]\d{0,2},\d{3}$/; // or a number with three decimal places

/** Parses rows of cells. */
export function table(text) {
  // What quotes hold separates nothing.
  const masked = /["']/.test(text) ? text.replace(QUOTED, (quoted) => "q".repeat(quoted.length)) : text;
  const rowsEnd = endsRows(masked);
  const lines = linesOf(masked, rowsEnd);
  const separator = separatorOf(lines.map(({ line }) => line).join("\n"), rowsEnd);
  const rows = lines
    .filter(({ line }) => line.trim() !== "" || (separator === "\t" && line.includes("\t")))
    .map(({ line, at }) => cellsOf(text, line, at, separator));
  const comments = rows.filter(isComment).length;
  const said = [`separated by ${NAMES[separator]}`];
  if (rowsEnd) said.push("rows ended by semicolons");
  if (comments > 0) said.push(comments === 1 ? "a comment skipped" : `${comments} comments skipped`);
  const body = withoutNames(rows.filter((cells) => !isComment(cells)), separator, said);
  if (body.length === 0) throw new TextError("there is no row of numbers", 0, text.length);
  checkWidths(body);
  const comma = separator !== "," && decimalComma(body);
  if (comma) said.push("decimal comma");
  const elements = new Elements();
  body.forEach((cells, row) => cells.forEach((cell, column) => add(elements, cell, row, column, comma, separator)));
  const flat = body.length === 1 && !rowsEnd;
  const alone = flat && elements.length === 1 && !/[,;\t]/.test(masked);
  return elements.reading(alone ? [] : flat ? [body[0].length] : [body.length, body[0].length], alone ? [] : said);
}

/** Returns whether semicolons end rows, as in 1 2; 3 4, and do not separate cells, as in 1;2. */
function endsRows(masked) {
  if (!masked.includes(";")) return false;
  const pieces = masked.split(/[;\n]/).map((piece) => piece.trim());
  const inner = pieces.some((piece) => piece.match(WORD)?.length > 1 || /,.*,/.test(piece));
  return inner || !/;[^\S\n]*[^\s;]|;[^\S\n]*;/.test(masked);
}

function linesOf(masked, rowsEnd) {
  return [...masked.matchAll(rowsEnd ? /[^\n;]+/g : /[^\n]+/g)].map((found) => ({ line: found[0], at: found.index }));
}

function separatorOf(lines, rowsEnd) {
  if (lines.includes("\t") && /\S[^\S\n]*\t|\t[^\S\n]*\S/.test(lines)) return "\t";
  if (!rowsEnd && lines.includes(";")) return ";";
  return lines.includes(",") ? "," : " ";
}

/** The cells of a line, `{text, at, end}`; quotes around a cell are no part of it. */
function cellsOf(text, line, at, separator) {
  if (separator === " ") return [...line.matchAll(WORD)].map((word) => cell(text, at + word.index, at + word.index + word[0].length));
  let from = at;
  return line.split(separator).map((piece) => {
    const own = cell(text, from, from + piece.length);
    from += piece.length + 1;
    return own;
  });
}

function cell(text, from, to) {
  const all = text.slice(from, to);
  const bare = all.trim();
  const at = from + (bare === "" ? 0 : all.indexOf(bare));
  const inner = /^(["'])([^]*)\1$/.exec(bare)?.[2].trim();
  return { text: inner ?? bare, at, end: bare === "" ? to : at + bare.length, quoted: inner !== undefined };
}

function isComment(cells) {
  const [{ text }] = cells;
  return text.startsWith("#") && number(text) === null;
}

const isName = ({ text }) => text !== "" && [text, text.replace(",", ".")].every((each) => number(each) === null);

const counts = (cells) => cells.length > 0 && cells.every((each, index) => each.text === String(index));

/** The rows without a row of names above and a column of names on the left. What is left out is said. */
function withoutNames(rows, separator, said) {
  if (rows.length < 2) return rows;
  const [head, ...body] = rows;
  const corner = separator !== " " && head[0].text === "" && head.length > 1;
  const names = corner ? head.slice(1) : head;
  const named = names.some(isName) && names.every((each) => isName(each) || each.text === "");
  const shorter = body.every((cells) => cells.length === head.length + 1);
  const labels = corner || shorter;
  // pandas numbers rows and columns that have no names.
  const numbered = labels && counts(names) && counts(body.map(([first]) => first)) && (corner || head[0].at > 0);
  if (!named && !numbered) return rows;
  said.push(labels ? "row of names and column of names skipped" : "row of names skipped");
  return labels ? body.map((cells) => cells.slice(1)) : body;
}

function checkWidths(rows) {
  const first = rows[0].length;
  const row = rows.findIndex((cells) => cells.length !== first);
  if (row < 0) return;
  const cells = rows[row];
  throw new TextError(ragged(row, cells.length, first), cells[0].at, cells.at(-1).end);
}

/** Returns whether commas are decimal; refuses commas that may separate thousands. */
function decimalComma(rows) {
  const commas = rows.flat().filter(({ text }) => text.includes(",") && DECIMAL.test(text));
  if (commas.length === 0) return false;
  if (commas.every(({ text }) => THOUSANDS.test(text))) {
    const { text, at, end } = commas[0];
    throw new TextError(`'${text}' is ambiguous: write ${text.replace(",", ".")} or ${text.replace(",", "")}`, at, end);
  }
  const point = rows.flat().find(({ text }) => /^[+-]?\d*\.\d/.test(text));
  if (point) throw new TextError(`'${point.text}' has a decimal point, and '${commas[0].text}' a decimal comma: a text has one of them`, point.at, point.end);
  return true;
}

function add(elements, { text, at, end }, row, column, comma, separator) {
  if (text === "") {
    elements.addEmpty(at, end);
    return;
  }
  if (elements.tryAdd(comma ? text.replace(",", ".") : text, at, end)) return;
  const mixed = separator === "," && /\d\s+\S/.test(text) ? "; commas separate the numbers of this text" : "";
  throw new TextError(`row ${row}, column ${column}: ${whyNot(text)}${mixed}`, at, end);
}
