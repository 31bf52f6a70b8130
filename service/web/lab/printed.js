// Matrices as Julia, MATLAB, R and pandas print them: rows under a heading, in blocks of columns, in pages.

import { COMPLEX, Elements, number, TextError } from "./numbers.js";
import { ragged } from "./nested.js";

const WORD = new RegExp(String.raw`${COMPLEX}|\S+`, "g");
const JULIA = /^\s*(?:(\d+)-element|(\d+(?:[×x]\d+)+)) [A-Z].*:\s*$/;
const JULIA_PAGE = /^\s*\[:, :, ([\d, ]+)\] =\s*$/;
const MATLAB = /^\s*[A-Za-z]\w*(?:\(:,:,([\d,]+)\))? =(?:\s*\d+(?:×\d+)+(?: \w+)*)?\s*$/;
const MATLAB_SIZE = /^\s*\d+(?:×\d+)+ [a-z][a-z0-9 ]*$/;
const MATLAB_SCALE = /^\s*1\.0e([+-]\d+)\s*\*\s*$/;
const MATLAB_COLUMNS = /^\s*Columns? \d+(?: (?:through|and) \d+)?:?\s*$/;
const R_PAGE = /^, , ([\d, ]+)\s*$/;
const R_COLUMNS = /^\s+(?:\[,\d+\]\s*)+$/;
const R_ROW = /^\s*\[\d+,\]\s+\S/;
const R_VECTOR = /^\s*\[\d+\]\s+\S/;
const SERIES_END = /^(?:Name: .*, )?(?:Length: \d+, )?dtype: \w+\s*$/;
const FRAME_END = /^\[\d+ rows x \d+ columns\]\s*$/;

/** Parses a printed matrix or vector; null for a text in no such form. */
export function printed(text) {
  const lines = [...text.matchAll(/[^\n]+/g)].map((found) => ({ line: found[0], at: found.index })).filter(({ line }) => line.trim() !== "");
  if (lines.length === 0) return null;
  const [first] = lines;
  if (JULIA.test(first.line)) return julia(lines);
  if (MATLAB.test(first.line)) return matlab(lines);
  if (lines.some(({ line }) => R_ROW.test(line)) || R_COLUMNS.test(first.line) || R_PAGE.test(first.line)) return rMatrix(lines);
  if (lines.every(({ line }) => R_VECTOR.test(line))) return rVector(lines);
  return SERIES_END.test(lines.at(-1).line) ? series(lines) : null;
}

/** The text without the last line of a printed data frame, which says its size. */
export function withoutSize(text) {
  const kept = text.trimEnd();
  const last = kept.lastIndexOf("\n") + 1;
  return FRAME_END.test(kept.slice(last)) ? text.slice(0, last) : text;
}

const wordsOf = ({ line, at }) => [...line.matchAll(WORD)].map((word) => ({ text: word[0], at: at + word.index, end: at + word.index + word[0].length }));

/** Pages of blocks of rows: `page` begins one, `block` begins more columns of the same rows. */
class Pages {
  #pages = new Map();
  #blocks = null;
  power = 0;

  page(key) {
    this.#blocks = this.#pages.get(key) ?? [];
    this.#pages.set(key, this.#blocks);
    this.block();
  }

  block() {
    if (this.#blocks === null) return this.page("");
    if (this.#blocks.at(-1)?.length !== 0) this.#blocks.push([]);
  }

  row(words) {
    if (this.#blocks === null) this.page("");
    this.#blocks.at(-1).push(words);
  }

  /** The rows of each page, with its blocks side by side. */
  get #rows() {
    return [...this.#pages].map(([key, blocks]) => {
      const full = blocks.filter((block) => block.length > 0);
      const short = full.find((block) => block.length !== full[0].length);
      if (short) throw new TextError(`these columns have ${short.length} rows, the first ones ${full[0].length}`, short[0][0].at, short.at(-1).at(-1).end);
      return { key, rows: (full[0] ?? []).map((_, row) => full.flatMap((block) => block[row])) };
    });
  }

  /** The elements in row-major order and their shape: rows, columns, and an axis for each number of a page's key. */
  read() {
    const pages = this.#rows;
    const keys = pages.map(({ key }) => (key === "" ? [] : key.split(",").map((each) => Number(each) - 1)));
    const [height, width] = [pages[0].rows.length, pages[0].rows[0]?.length ?? 0];
    for (const { rows } of pages) {
      rows.forEach((row, index) => {
        if (row.length !== width) throw new TextError(ragged(index, row.length, width), row[0].at, row.at(-1).end);
      });
      if (rows.length !== height) throw new TextError(`this page has ${rows.length} rows, the first one ${height}`, rows[0]?.[0].at ?? 0, rows.at(-1)?.at(-1).end ?? 0);
    }
    const outer = keys[0].map((_, axis) => Math.max(...keys.map((key) => key[axis])) + 1);
    if (pages.length !== outer.reduce((product, size) => product * size, 1)) throw new TextError("a page is missing", 0, 0);
    const byKey = new Map(pages.map(({ rows }, index) => [keys[index].reduce((at, position, axis) => at * outer[axis] + position, 0), rows]));
    const elements = new Elements();
    for (let row = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1) {
        for (let page = 0; page < pages.length; page += 1) {
          const { text, at, end } = byKey.get(page)[row][column];
          elements.add(text, at, end, `row ${row}, column ${column}: `, this.power);
        }
      }
    }
    return { elements, shape: [height, width, ...outer] };
  }
}

function julia([heading, ...lines]) {
  const [, vector, matrix] = JULIA.exec(heading.line);
  const pages = new Pages();
  for (const each of lines) {
    const page = JULIA_PAGE.exec(each.line);
    if (page) pages.page(page[1]);
    else pages.row(wordsOf(each));
  }
  const stated = (vector ?? matrix).split(/[×x]/).map(Number);
  const { elements, shape } = lines.length > 0 ? pages.read() : { elements: new Elements(), shape: [0, 0] };
  const own = vector ? [shape[0]] : elements.length === 0 ? stated : shape;
  if (own.join() !== stated.join()) throw new TextError(`the heading says ${stated.join("×")}, the numbers below it are ${own.join("×")}`, heading.at, heading.at + heading.line.length);
  return elements.reading(own, ["printed by Julia"]);
}

function matlab(lines) {
  const pages = new Pages();
  const said = ["printed by MATLAB"];
  for (const each of lines) {
    const heading = MATLAB.exec(each.line);
    const scale = MATLAB_SCALE.exec(each.line);
    if (heading) pages.page(heading[1] ?? "");
    else if (scale) {
      pages.power = Number(scale[1]);
      said.push(`times 1.0e${scale[1]}`);
    } else if (MATLAB_COLUMNS.test(each.line)) pages.block();
    else if (!MATLAB_SIZE.test(each.line) && each.line.trim() !== "[]") pages.row(wordsOf(each));
  }
  const { elements, shape } = pages.read();
  return elements.reading(shape.every((size) => size === 1) ? [] : shape, said);
}

function rMatrix(lines) {
  const pages = new Pages();
  let labelled = false; // rows by words, under [,1] [,2]
  for (const each of lines) {
    const page = R_PAGE.exec(each.line);
    const words = wordsOf(each);
    if (page) pages.page(page[1]);
    else if (R_ROW.test(each.line)) pages.row(words.slice(1));
    else if (R_COLUMNS.test(each.line)) {
      pages.block();
      labelled = true;
    } else if (labelled && words.length > 1) pages.row(words.slice(1));
    else if (words.every(({ text }) => number(text) === null)) pages.block();
    else pages.row(words);
  }
  const { elements, shape } = pages.read();
  return elements.reading(shape, ["printed by R"]);
}

function rVector(lines) {
  const elements = new Elements();
  for (const each of lines) for (const { text, at, end } of wordsOf(each).slice(1)) elements.add(text, at, end);
  return elements.reading(elements.length === 1 ? [] : [elements.length], ["printed by R"]);
}

function series(lines) {
  const elements = new Elements();
  for (const each of lines.slice(0, -1)) {
    const words = wordsOf(each);
    const { text, at, end } = words.at(-1);
    if (words.length > 1) elements.add(text, at, end);
  }
  return elements.reading([elements.length], ["printed by pandas", "index skipped"]);
}
