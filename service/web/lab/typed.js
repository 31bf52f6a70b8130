// The tensor of a text: its JSON as it was typed, and its bytes where they hold what the text says.

import { DTYPES } from "./npy.js";
import { bracketed } from "./text.js";

const NONFINITE = new Set(['"NaN"', '"Infinity"', '"-Infinity"']);
const RANGES = { int8: [-128n, 127n], int16: [-32768n, 32767n], int32: [-(2n ** 31n), 2n ** 31n - 1n], int64: [-(2n ** 63n), 2n ** 63n - 1n], uint8: [0n, 255n] };
const ROUNDED = { float32: Math.fround, complex64: Math.fround, float64: Number };
const EXACT = 2 ** 53; // below it JavaScript has each whole number

/** The tensor of a reading in a call of `dtype`, which is empty if none is chosen. */
export function typedTensor(reading, dtype) {
  const { shape, literals, starts, complex, said } = reading;
  const own = ownDtype(reading, dtype);
  const pairs = complex || (DTYPES[own ?? dtype]?.pairs && shape.at(-1) === 2);
  const known = new Map();
  return {
    shape: pairs ? shape.slice(0, -1) : shape,
    dtype: own,
    starts,
    said,
    values: () => {
      const flat = literals.map((each) => (each === "true" ? true : each === "false" ? false : numberOf(each)));
      return pairs ? Array.from({ length: flat.length / 2 }, (_, i) => flat.slice(2 * i, 2 * i + 2)) : flat;
    },
    json: () => bracketed(shape, literals),
    holds: (kind) => {
      if (!known.has(kind)) known.set(kind, Boolean(DTYPES[kind]?.pairs) === Boolean(pairs) && holds(literals, kind));
      return known.get(kind);
    },
    bytes: (kind) => new Uint8Array(DTYPES[kind].view.from(literals, elementOf(kind)).buffer),
  };
}

/** The dtype that the text states, or that its complex numbers need; a chosen dtype comes first. */
function ownDtype({ complex, dtype: stated }, chosen) {
  if (!complex) return chosen ? null : stated;
  if (DTYPES[chosen]?.pairs) return null;
  return DTYPES[stated]?.pairs ? stated : chosen === "float64" ? "complex128" : "complex64";
}

const numberOf = (literal) => Number(literal.replaceAll('"', ""));

function elementOf(kind) {
  if (kind === "bool") return (literal) => (literal === "true" ? 1 : 0);
  return kind === "int64" ? integerOf : numberOf;
}

/** An integer literal, or a whole number with a point, as a BigInt; null for others. */
function integerOf(literal) {
  const bare = literal.replaceAll('"', "");
  if (/^-?\d+$/.test(bare)) return BigInt(bare);
  const value = Number(bare);
  return literal === bare && Number.isInteger(value) && Math.abs(value) < EXACT ? BigInt(value) : null;
}

/** Returns whether bytes of `kind` mean what the service takes the literals for, with no warning and no error. */
function holds(literals, kind) {
  if (kind === "bool") return literals.every((each) => each === "true" || each === "false");
  if (kind in RANGES) {
    const [least, most] = RANGES[kind];
    return literals.every((each) => {
      const value = integerOf(each);
      return value !== null && value >= least && value <= most;
    });
  }
  const round = ROUNDED[kind];
  return round !== undefined && literals.every((each) => rounds(each, round));
}

/** Returns whether a literal is finite when rounded, and the same if it is a whole number. */
function rounds(literal, round) {
  if (literal[0] === '"') return NONFINITE.has(literal);
  const value = Number(literal);
  const rounded = round(value);
  if (!Number.isFinite(rounded)) return false;
  return Number.isInteger(value) && Math.abs(value) < EXACT ? rounded === value : !/^-?\d+$/.test(literal);
}
