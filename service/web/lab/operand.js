// Operands (typed, generated, or bytes of a file or a result), their descriptions and their tensors.
//
// The URL has the description; the tensor is drawn and sent.

import { crossed, elements, tuple } from "./format.js";
import { DTYPES, elementsOf, transposed } from "./npy.js";
import { Generator } from "./random.js";
import { bracketed, parse, TextError, write } from "./text.js";
import { typedTensor } from "./typed.js";

/** Kinds of generated operands: their title, and their line of numpy. */
export const GENERATED = {
  random: { title: "random 0 to 1", numpy: (shape, seed, dtype) => `np.random.default_rng(${seed}).random(${shape}${dtype === "float64" ? "" : ", np.float32"})` },
  integers: { title: "integers \u22129 to 9", numpy: (shape, seed) => `np.random.default_rng(${seed}).integers(-9, 10, ${shape})` },
  count: { title: "0, 1, 2, …", numpy: (shape) => `np.arange(np.prod(${shape})).reshape(${shape})` },
};
const SHAPE = /^\s*\(?\s*(\d+(?:\s*[x×,* ]\s*\d+)*)?\s*,?\s*\)?\s*$/;
const LARGEST = 2 ** 24; // elements to generate: the service's own limit by default
const IN_LINK = 4096; // most bytes of a file in a link

/** Parses a shape such as 5x784 or 5, 784; null for other text. */
export function readShape(text) {
  const match = SHAPE.exec(text);
  if (!match) return null;
  return match[1] === undefined ? [] : match[1].split(/[x×,*\s]+/).map(Number);
}

/** A typed operand. */
export const typed = (text) => ({ kind: "text", text });

/** An operand of a text that is too long to be edited, with the name of its source. */
export const long = (name, text) => ({ kind: "long", name, text });

/** A generated operand. */
export const generated = (kind, shape, seed = 0, swapped = false) => ({ kind, shape: crossed(shape), seed: String(seed), swapped });

/** An operand of little-endian bytes, with the name of their source. */
export const stored = (name, dtype, shape, bytes) => ({ kind: "bytes", name, dtype, shape, bytes });

/** The description for the URL. A large file does not fit: a link asks for it again. */
export function describe(operand) {
  if (operand.kind === "text") return operand.text;
  if (operand.kind in GENERATED) {
    return `${operand.kind}:${operand.shape}:${operand.seed}${operand.swapped ? ":T" : ""}`;
  }
  if (!inLink(operand)) return `file:${operand.name}`;
  return `bytes:${operand.dtype}:${crossed(operand.shape)}:${btoa(String.fromCharCode(...operand.bytes))}:${operand.name}`;
}

const inLink = (operand) => operand.kind !== "absent" && operand.kind !== "long" && !(operand.kind === "bytes" && operand.bytes.length > IN_LINK);

const serials = new WeakMap();
let lastSerial = 0;

/** A number that tells apart operands that are not in a link; "" for those that are. */
export function serial(operand) {
  if (inLink(operand)) return "";
  if (!serials.has(operand)) serials.set(operand, (lastSerial += 1));
  return String(serials.get(operand));
}

const readings = new WeakMap();

/** The reading of a text operand, which is parsed once. */
function reading(operand) {
  if (!readings.has(operand)) readings.set(operand, parse(operand.text));
  return readings.get(operand);
}

/** The operand of a description. */
export function undescribe(text) {
  const [kind, ...parts] = text.split(":");
  if (kind in GENERATED && parts.length >= 2) {
    return { kind, shape: parts[0], seed: parts[1], swapped: parts[2] === "T" };
  }
  if (kind === "file") return { kind: "absent", name: parts.join(":") };
  if (kind === "bytes" && parts[0] in DTYPES && parts.length >= 4) {
    try {
      const bytes = Uint8Array.from(atob(parts[2]), (letter) => letter.charCodeAt(0));
      const shape = readShape(parts[1]);
      if (bytes.length === elements(shape) * DTYPES[parts[0]].size) return stored(parts.slice(3).join(":"), parts[0], shape, bytes);
    } catch {
      // Not base64: shown as text, where it can be corrected.
    }
  }
  return typed(text);
}

const isText = ({ kind }) => kind === "text" || kind === "long";

/**
 * The tensor of an operand in a call of `dtype`: `{shape, dtype, values(), json(), holds(kind), bytes(kind)}`.
 * `dtype` is null for plain numbers, which take that of the call; functions compute lazily. `holds` returns whether
 * bytes of a dtype are the same numbers as the JSON.
 * Throws a TextError, or an Error that has a hint.
 */
export function tensorOf(operand, dtype) {
  if (isText(operand)) return typedTensor(reading(operand), dtype);
  if (operand.kind === "absent") throw new Error(`${operand.name} is not in this link: choose the file again`);
  if (operand.kind === "bytes") return bytesTensor(operand.shape, operand.dtype, () => operand.bytes);
  return generatedTensor(operand, dtype);
}

function generatedTensor(operand, dtype) {
  const drawn = readShape(operand.shape);
  if (!drawn) throw new Error("a shape is sizes such as 5x784");
  if (!/^\d{1,30}$/.test(operand.seed)) throw new Error("a seed is a whole number from 0");
  const size = elements(drawn);
  if (size > LARGEST) throw new Error(`${size} elements are more than this page makes (${LARGEST})`);
  const kind = dtype || "float32";
  // Other dtypes are sent as plain numbers: the service reports those that do not fit.
  const native = ["float32", "float64", "int8", "int16", "int32"].includes(kind) && (operand.kind !== "random" || kind.startsWith("float"));
  const make = () => {
    const draw = new Generator(operand.seed);
    if (operand.kind === "integers") return draw.integers(-9, 10, size);
    if (operand.kind === "count") return Int32Array.from({ length: size }, (_, i) => i);
    return kind === "float64" ? draw.doubles(size) : draw.floats(size);
  };
  const fits = native && !(operand.kind === "count" && size > (kind === "int8" ? 128 : kind === "int16" ? 32768 : Infinity));
  const bytes = once(() => {
    const made = make();
    const View = fits ? DTYPES[kind].view : made.constructor;
    const flat = new Uint8Array((made instanceof View ? made : View.from(made)).buffer);
    return operand.swapped ? transposed(flat, drawn, View.BYTES_PER_ELEMENT) : flat;
  });
  const shape = operand.swapped ? [...drawn.slice(0, -2), ...drawn.slice(-2).reverse()] : drawn;
  if (fits) return bytesTensor(shape, kind, bytes);
  const plain = operand.kind === "random" ? (kind === "float64" ? "float64" : "float32") : "int32";
  if (DTYPES[kind]?.pairs) return bytesTensor(shape, kind, once(() => complexOf(kind, elementsOf(plain, bytes()))));
  return { ...bytesTensor(shape, plain, bytes), dtype: null, holds: () => false };
}

function bytesTensor(shape, dtype, bytes) {
  const values = once(() => elementsOf(dtype, bytes()));
  const pairs = DTYPES[dtype].pairs;
  const flat = () => (pairs ? values().flat() : values());
  return {
    shape,
    dtype,
    values,
    json: () => bracketed(pairs ? [...shape, 2] : shape, Array.from(flat(), jsonOf)),
    holds: (kind) => kind === dtype,
    bytes,
  };
}

/** Bytes of complex numbers with these real parts. */
function complexOf(kind, values) {
  const flat = new DTYPES[kind].view(2 * values.length);
  values.forEach((value, index) => (flat[2 * index] = value));
  return new Uint8Array(flat.buffer);
}

function jsonOf(value) {
  if (typeof value === "bigint") return value > 2n ** 53n || value < -(2n ** 53n) ? `"${value}"` : String(value);
  if (typeof value === "boolean" || Number.isFinite(value)) return Object.is(value, -0) ? "-0.0" : String(value);
  return `"${value}"`;
}

function once(make) {
  let made;
  return () => (made ??= make());
}

/** The operand with its last two axes exchanged; null if it has fewer than two. */
export function transposedOperand(operand) {
  if (operand.kind === "bytes") {
    const { name, dtype, shape, bytes } = operand;
    if (shape.length < 2) return null;
    const own = [...shape.slice(0, -2), ...shape.slice(-2).reverse()];
    return stored(name, dtype, own, transposed(bytes, shape, DTYPES[dtype].size));
  }
  if (operand.kind in GENERATED) return { ...operand, swapped: !operand.swapped };
  if (!isText(operand)) return null;
  try {
    const { shape: full, literals, complex, dtype } = reading(operand);
    const shape = complex ? full.slice(0, -1) : full;
    if (shape.length < 2) return null;
    const words = complex ? joined(literals) : literals;
    const [rows, columns] = shape.slice(-2);
    const from = (i) => {
      const block = i - (i % (rows * columns));
      const at = i - block;
      return block + (at % rows) * columns + Math.floor(at / rows);
    };
    return { ...operand, text: spell([...shape.slice(0, -2), columns, rows], words.map((_, i) => words[from(i)]), dtype) };
  } catch (error) {
    if (error instanceof TextError) return null;
    throw error;
  }
}

/** Words of complex numbers, such as 1+2j, from literals of their parts. */
function joined(literals) {
  const word = (literal) => literal.replaceAll('"', "").replace("Infinity", "inf").replace("NaN", "nan");
  return Array.from({ length: literals.length / 2 }, (_, i) => {
    const [re, im] = [word(literals[2 * i]), word(literals[2 * i + 1])];
    return `${re}${im.startsWith("-") ? "" : "+"}${im}j`;
  });
}

/** A text of numbers; one that states its dtype if that is not null. */
function spell(shape, words, dtype) {
  if (dtype === null) return write(shape, words);
  const bare = words.map((word) => word.replaceAll('"', "").replace("Infinity", "inf").replace("NaN", "nan"));
  return `array(${shape.includes(0) ? "[]" : bracketed(shape, bare)}${shape.includes(0) ? `, shape=${tuple(shape)}` : ""}, dtype=${dtype})`;
}

/** A small tensor as a text operand that means the same in a call of `dtype`. */
export function spelled(tensor, dtype) {
  const { literals } = parse(`[${tensor.json()}]`);
  const plain = tensor.dtype === null || tensor.dtype === (dtype || "float32");
  const words = DTYPES[tensor.dtype]?.pairs ? joined(literals) : literals;
  return typed(spell(tensor.shape, words, plain ? null : tensor.dtype));
}
