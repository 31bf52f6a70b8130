// One number as text: the spellings of JSON, spreadsheets, Python, MATLAB, R and Julia.
//
// Digits stay as they were typed, so that 9007199254740993 and 0.1 reach the service unchanged.

const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const PLAIN = /^[+-]?(\d+(?:\.\d*)?|\.\d+)([eEdDf][+-]?\d+)?$/; // 1.0D3 is Fortran's, 1.0f0 Julia's
const PART = String.raw`(?:(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|nan|inf|NaN|Inf)`;
/** A complex number; numpy pads 1. +2.j, MATLAB writes 1.0 + 2.0i, and [1 +2i] has two numbers. */
export const COMPLEX = String.raw`[+-]?${PART}(?:\s*[+-]\s*${PART}\*?[jJ]|(?:[+-]|\s+[+-]\s+)${PART}\*?(?:im|i))(?![\w.])`;
const PAIR = new RegExp(String.raw`^([+-]?${PART})\s*([+-])\s*(${PART})\*?(?:im|[ijJ])$`);
const IMAGINARY = new RegExp(String.raw`^([+-]?${PART})(?:im|[ijJ])$`);
const CALL = /^(?:np|numpy|torch|jnp|math)\.\w+\((.*)\)$/; // np.float64(1.0)
const FLOAT = /^([+-]?)float\(\s*["'](.*)["']\s*\)$/;
const MODULE = /^([+-]?)(?:np|numpy|torch|jnp|math)\./; // np.nan
const GROUPED = /^[+-]?(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d{1,3}(?:['\u2019 \u00a0\u2007\u2009\u202f]\d{3})+(?:[.,]\d*)?|\d{1,3}(?:\.\d{3})+,\d*|\d{1,3}(?:\.\d{3}){2,})$/;
const WORDS = new Map([
  ["nan", '"NaN"'], ["inf", '"Infinity"'], ["infinity", '"Infinity"'], ["∞", '"Infinity"'],
  ["true", "true"], ["false", "false"], ["true_", "true"], ["false_", "false"],
]);
/** Words for a missing number: of R, pandas, Julia and spreadsheets. */
const MISSING = /^(?:NA|<NA>|missing|n\/a|#(?:N\/A|DIV\/0!|NUM!|VALUE!|REF!|NAME\?|NULL!))$/i;

/** A mistake in a text, with its start and end. */
export class TextError extends Error {
  constructor(message, start, end) {
    super(message);
    this.start = start;
    this.end = end;
  }
}

/** The first characters of a long token. */
export function clip(token) {
  return token.length > 24 ? `${token.slice(0, 24)}…` : token;
}

/** A real number as JSON, or null for other text. */
function real(token) {
  if (JSON_NUMBER.test(token)) return token === "-0" ? "-0.0" : token; // an integer has no sign at zero
  const sign = token[0] === "-" ? "-" : "";
  const word = WORDS.get(token.replace(/^[+-]/, "").toLowerCase());
  if (word) return word[0] !== '"' ? (/^[+-]/.test(token) ? null : word) : word === '"NaN"' ? word : `"${sign}Infinity"`;
  const bare = token.replace(/(?<=\d)_(?=\d)/g, "").replace(/(?<=^[+-]?\d+)L$/, "");
  if (!PLAIN.test(bare)) return null;
  return bare.replace(/^\+/, "").replace(/^(-?)0+(?=\d)/, "$1").replace(/^(-?)\./, "$10.").replace(/\.(?!\d)/, "").replace(/[dDf]/, "e").replace(/^-0$/, "-0.0");
}

/**
 * The value of a token: JSON for a real number, `{re, im}` for a complex one, `{missing: true}`, or null.
 * @param {string} token
 */
export function number(token) {
  const plain = real(token);
  if (plain !== null) return plain;
  if (MISSING.test(token)) return { missing: true };
  if (/^\(.*\)$/.test(token)) return number(token.slice(1, -1).trim());
  const inner = CALL.exec(token)?.[1] ?? FLOAT.exec(token)?.slice(1).join("") ?? (MODULE.test(token) ? token.replace(MODULE, "$1") : null);
  if (inner !== null) return number(inner.trim());
  if (/^[^%]*\d\.?%$/.test(token)) return hundredth(real(token.slice(0, -1)));
  const pair = PAIR.exec(token);
  if (pair) return { re: real(pair[1]), im: signed(pair[2], real(pair[3])) };
  const imaginary = IMAGINARY.exec(token);
  return imaginary ? { re: "0", im: real(imaginary[1]) } : null;
}

function hundredth(literal) {
  return literal === null ? null : { percent: scaled(literal, -2) };
}

function signed(sign, literal) {
  if (sign === "+" || literal === '"NaN"') return literal;
  return literal[0] === '"' ? '"-Infinity"' : `-${literal}`;
}

/** A JSON number times a power of ten, exactly. */
export function scaled(literal, power) {
  if (literal[0] === '"') return literal;
  const [digits, exponent] = literal.split(/e/i);
  return `${digits}e${Number(exponent ?? 0) + power}`;
}

/** The reason why a token is not a number, for a sentence that begins with it. */
export function whyNot(token) {
  const shown = `'${clip(token)}'`;
  if (GROUPED.test(token)) return `${shown} has a separator of thousands: write its digits without one`;
  if (/^(null|none)$/i.test(token)) return `${shown} is not a number; a number that is missing can be NaN`;
  if (/^(["'])(?!.*\1$)/.test(token)) return `${shown} opens a quote that is not closed`;
  if (/^\S+\s+\S/.test(token) && token.split(/\s+/).every((word) => number(word) !== null)) return `${shown} is more than one number`;
  return `${shown} is not a number`;
}

/** The elements of a reading as they are found: their literals and places, and what is to be said of them. */
export class Elements {
  literals = [];
  imaginary = null; // from the first complex number on, a literal for each element
  starts = [];
  ends = [];
  missing = []; // indices of elements that stand for a missing number
  percent = false;

  get length() {
    return this.literals.length;
  }

  /** Adds the number of a token; returns whether it is one. */
  tryAdd(token, start, end, power = 0) {
    const value = number(token);
    if (value === null) return false;
    this.#push(value, start, end, power);
    return true;
  }

  /** Adds the number of a token; throws a TextError, with the name of its cell, if it is none. */
  add(token, start, end, where = "", power = 0) {
    if (!this.tryAdd(token, start, end, power)) throw new TextError(`${where}${whyNot(token)}`, start, end);
  }

  /** Adds a string or number of JSON; a string stays one, because the service decides on it. */
  addQuoted(token, start, end) {
    const bare = token.slice(1, -1).trim();
    const value = number(bare);
    if (value === null) throw new TextError(whyNot(token), start, end);
    this.#push(typeof value === "string" && /\d/.test(value) ? JSON.stringify(bare.replace(/^\+/, "")) : value, start, end, 0);
  }

  /** Adds NaN for an empty cell. */
  addEmpty(start, end) {
    this.#push({ missing: true }, start, end, 0);
  }

  #push(value, start, end, power) {
    this.starts.push(start);
    this.ends.push(end);
    if (typeof value === "string" && power === 0 && this.imaginary === null) {
      this.literals.push(value); // nearly all are such
      return;
    }
    const times = (literal) => (power === 0 ? literal : scaled(literal, power));
    if (value.missing) this.missing.push(this.length);
    if (value.percent) this.percent = true;
    if (value.im !== undefined) this.imaginary ??= new Array(this.length).fill("0");
    const own = value.missing ? '"NaN"' : value.percent ?? value.re ?? value;
    this.literals.push(times(own));
    this.imaginary?.push(value.im === undefined ? "0" : times(value.im));
  }

  /** The elements in another order. */
  ordered(order) {
    const next = new Elements();
    for (const name of ["literals", "starts", "ends"]) next[name] = order.map((index) => this[name][index]);
    next.imaginary = this.imaginary && order.map((index) => this.imaginary[index]);
    const missing = new Set(this.missing);
    next.missing = order.flatMap((from, to) => (missing.has(from) ? [to] : []));
    next.percent = this.percent;
    return next;
  }

  /** The reading of these elements in a shape; complex numbers are pairs on a last axis. */
  reading(shape, said, dtype = null) {
    const words = [...said, ...(this.percent ? ["percentages as hundredths"] : []), ...this.#missingWords(shape)];
    const both = (list) => (this.imaginary ? list.flatMap((each) => [each, each]) : list);
    return {
      shape: this.imaginary ? [...shape, 2] : shape,
      literals: this.imaginary ? this.literals.flatMap((literal, index) => [literal, this.imaginary[index]]) : this.literals,
      starts: both(this.starts),
      ends: both(this.ends),
      complex: this.imaginary !== null,
      dtype,
      said: words,
    };
  }

  #missingWords(shape) {
    if (this.missing.length === 0) return [];
    let [rest] = this.missing;
    const place = shape.toReversed().map((size) => {
      const at = rest % size;
      rest = Math.floor(rest / size);
      return at;
    }).reverse();
    return this.missing.length === 1 ? [`1 missing number as NaN, at [${place.join(", ")}]`] : [`${this.missing.length} missing numbers as NaN, the first at [${place.join(", ")}]`];
  }
}
