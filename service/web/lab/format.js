// Numbers for display: three significant digits for times, always with units.
//
// Times, counts, sizes in memory and shares are written as the service writes them, in core/units.py.

const MINUS = "\u2212";
// Units of time in nanoseconds; `us` as in the service's texts, which stand beside.
const TIMES = [["years", 31557600e9], ["days", 86400e9], ["h", 3600e9], ["min", 60e9], ["s", 1e9], ["ms", 1e6], ["us", 1e3], ["ns", 1]];
const BYTES = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]];

/** `value` with `digits` significant digits, never in powers of ten. */
function significant(value, digits = 3) {
  if (value === 0) return "0";
  const whole = Math.floor(Math.log10(Math.abs(value))) + 1;
  if (whole >= digits) return grouped(Math.round(value));
  return value.toFixed(Math.min(digits - whole, 20));
}

function grouped(whole) {
  return whole.toLocaleString("en");
}

/** A time in milliseconds with its unit: 2.60 us, 370 ms, 1.50 min, 2.62 h. */
export function time(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms === 0) return "0 ns";
  // The product of whole nanoseconds in milliseconds may miss them by its last digit.
  const ns = Number((ms * 1e6).toPrecision(15));
  return inUnits(ns, TIMES);
}

function inUnits(value, units) {
  // The value is rounded before the unit is chosen: 999.9 us is 1.00 ms.
  const [unit, size] = units.find((each) => rounded(value / each[1]) >= 1) ?? units.at(-1);
  return `${significant(rounded(value / size))} ${unit}`;
}

/** A time that is a power of ten: 1 us, 100 ms, 10 s. */
export function decade(ms) {
  if (ms < 0.9e-3) return `${Number((ms * 1e6).toPrecision(3))} ns`;
  if (ms < 0.9) return `${Math.round(ms * 1e3)} us`;
  return ms < 0.9e3 ? `${Math.round(ms)} ms` : `${grouped(Math.round(ms / 1e3))} s`;
}

function rounded(value) {
  return Number(value.toPrecision(3));
}

/** A whole number in groups of three; from 10^15 on, three digits: 1.00e+18. */
export function count(number) {
  return number < 1e15 ? grouped(number) : number.toExponential(2);
}

/** A size in memory: 15.3 KiB; below a KiB it is exact. */
export function bytes(number) {
  return number < 1024 ? `${number} bytes` : inUnits(number, BYTES);
}

/** A factor: 62.0 ×, 16,100 ×. */
export function factor(value) {
  return `${significant(rounded(value))} ×`;
}

/** A rate in units of 10^9 a second: 118, 0.00210, 2.1e-5. */
export function rate(value) {
  return value >= 0.001 ? significant(rounded(value)) : value.toExponential(1).replace("e-", `e${MINUS}`);
}

/** A share: 87 %; below a percent as 1 in 350, which is easier to imagine. */
export function share(value) {
  if (value === null || value === undefined) return "";
  return value >= 0.01 || value === 0 ? `${grouped(Math.round(100 * value))} %` : `1 in ${count(Number((1 / value).toPrecision(2)))}`;
}

/** An error or a distance: 0, 2.6e-4, NaN or ∞. */
export function distance(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return value === "NaN" ? "NaN" : "∞";
  return value === 0 ? "0" : value.toExponential(1).replace("e-", `e${MINUS}`).replace("e+", "e");
}

/** One element of a tensor, short enough for a cell. */
export function element(value, digits = 5) {
  if (Array.isArray(value)) return complex(value, digits);
  if (typeof value === "boolean" || typeof value === "bigint") return signed(String(value));
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : `${MINUS}∞`;
  if (value === 0) return Object.is(value, -0) ? `${MINUS}0` : "0";
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return signed(String(value));
  const plain = Math.abs(value) >= 1e-4 && Math.abs(value) < 1e7;
  const rounded = Number(value.toPrecision(digits));
  const text = plain ? String(rounded) : digits > 6 ? rounded.toExponential() : value.toExponential(Math.max(digits - 3, 1));
  return signed(text.replace("e+", "e"));
}

/** One element in the fewest digits that round-trip in its dtype. */
export function exact(value, dtype) {
  if (Array.isArray(value)) return `${exact(value[0], dtype)}${value[1] < 0 ? "" : "+"}${exact(value[1], dtype)}i`;
  if (typeof value !== "number" || !["float32", "complex64"].includes(dtype)) return element(value, 17);
  for (let digits = 6; digits < 9; digits += 1) {
    if (Math.fround(Number(value.toPrecision(digits))) === Math.fround(value)) return element(value, digits);
  }
  return element(value, 9);
}

function signed(text) {
  return text.replaceAll("-", MINUS);
}

function complex([re, im], digits) {
  return `${element(re, digits)}${im < 0 ? "" : "+"}${element(im, digits)}i`;
}

/** A shape in Python's notation. */
export function tuple(shape) {
  return shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
}

/** A shape in the notation of fields: 5x784. */
export function crossed(shape) {
  return shape.join("x");
}

/** The number of elements of a shape. */
export function elements(shape) {
  return shape.reduce((product, size) => product * size, 1);
}
