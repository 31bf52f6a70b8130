// npy files: one little-endian array. Files that the service refuses are refused here with the same text.

const MAGIC = "\x93NUMPY";

/** Element types by the name of their dtype; `size` in bytes, `view` is a typed array over their bytes. */
export const DTYPES = {
  float32: { code: "<f4", size: 4, view: Float32Array, tensors: "F32" },
  float64: { code: "<f8", size: 8, view: Float64Array, tensors: "F64" },
  float16: { code: "<f2", size: 2, view: Uint16Array, tensors: "F16", decode: half },
  bfloat16: { code: null, size: 2, view: Uint16Array, tensors: "BF16", decode: brain },
  int8: { code: "|i1", size: 1, view: Int8Array, tensors: "I8" },
  int16: { code: "<i2", size: 2, view: Int16Array, tensors: "I16" },
  int32: { code: "<i4", size: 4, view: Int32Array, tensors: "I32" },
  int64: { code: "<i8", size: 8, view: BigInt64Array, tensors: "I64" },
  uint8: { code: "|u1", size: 1, view: Uint8Array, tensors: "U8" },
  bool: { code: "|b1", size: 1, view: Uint8Array, tensors: "BOOL", decode: Boolean },
  complex64: { code: "<c8", size: 8, view: Float32Array, tensors: "C64", pairs: true },
  complex128: { code: "<c16", size: 16, view: Float64Array, tensors: null, pairs: true },
};

const BY_PROMOTION = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"];

/** The dtype that dtypes are promoted to, as torch.promote_types has it. */
export function promote(dtypes) {
  return dtypes.reduce((one, other) => {
    const [a, b] = [one, other].sort((x, y) => BY_PROMOTION.indexOf(x) - BY_PROMOTION.indexOf(y));
    if (a === b || a === "bool") return b;
    if (a === "uint8" && b === "int8") return "int16";
    if (a === "float16" && b === "bfloat16") return "float32";
    return b === "complex64" && a === "float64" ? "complex128" : b;
  });
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -24 * fraction;
}

const word = new DataView(new ArrayBuffer(4));

function brain(bits) {
  word.setUint16(0, bits);
  return word.getFloat32(0);
}

/** The elements of little-endian bytes: a typed array, or an array of pairs. */
export function elementsOf(dtype, bytes) {
  const kind = DTYPES[dtype];
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  const view = new kind.view(aligned.buffer, aligned.byteOffset, aligned.byteLength / kind.view.BYTES_PER_ELEMENT);
  if (kind.pairs) return Array.from({ length: view.length / 2 }, (_, i) => [view[2 * i], view[2 * i + 1]]);
  return kind.decode ? Array.from(view, kind.decode) : view;
}

/** Parses an npy file to `{shape, dtype, bytes}` in row-major order. Throws an Error that has a hint. */
export function readNpy(buffer) {
  const data = new Uint8Array(buffer);
  const text = (from, to) => String.fromCharCode(...data.subarray(from, to));
  if (text(0, 6) !== MAGIC) throw new Error("this is no npy file: numpy.save writes one");
  const view = new DataView(buffer);
  const wide = data[6] > 1;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const start = (wide ? 12 : 10) + length;
  const header = length < 10_000 ? text(start - length, start) : "";
  const code = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const order = /'fortran_order':\s*(True|False)/.exec(header)?.[1];
  const sizes = /'shape':\s*\(([\d,\sL]*)\)/.exec(header)?.[1];
  if (code === undefined || sizes === undefined) throw new Error("records are not read; save an array of numbers");
  const dtype = Object.keys(DTYPES).find((name) => DTYPES[name].code === code);
  if (!dtype) throw new Error(`dtype '${code}' is not read; x.astype('float32') is`);
  const shape = (sizes.match(/\d+/g) ?? []).map(Number);
  const size = DTYPES[dtype].size;
  const wanted = shape.reduce((product, each) => product * each, size);
  const bytes = data.slice(start);
  if (bytes.length !== wanted) throw new Error(`the file has ${bytes.length} bytes of data, its shape needs ${wanted}`);
  return { shape, dtype, bytes: order === "True" ? permuted(bytes, shape.toReversed(), size) : bytes };
}

/** An npy file of little-endian bytes in row-major order. */
export function writeNpy(shape, dtype, bytes) {
  const sizes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  let header = `{'descr': '${DTYPES[dtype].code}', 'fortran_order': False, 'shape': (${sizes}), }`;
  header = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + "\n";
  const head = Uint8Array.from(`${MAGIC}\x01\x00\x00\x00${header}`, (letter) => letter.charCodeAt(0));
  new DataView(head.buffer).setUint16(8, header.length, true);
  return new Blob([head, bytes]);
}

/** Bytes with all axes in the opposite order: from Fortran order to C order. */
function permuted(bytes, shape, size) {
  return shape.length < 2 ? bytes : gather(bytes, shape, size, shape.map((_, axis) => axis).reverse());
}

/** Bytes with the last two axes exchanged. */
export function transposed(bytes, shape, size) {
  const axes = shape.map((_, axis) => axis);
  axes.push(...axes.splice(-2).reverse());
  return gather(bytes, shape, size, axes);
}

function gather(bytes, shape, size, axes) {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((p, each) => p * each, size));
  const sizes = axes.map((axis) => shape[axis]);
  const steps = axes.map((axis) => strides[axis]);
  const index = new Array(sizes.length).fill(0);
  const out = new Uint8Array(bytes.length);
  let from = 0;
  for (let to = 0; to < out.length; to += size) {
    for (let part = 0; part < size; part += 1) out[to + part] = bytes[from + part];
    for (let axis = sizes.length - 1; axis >= 0; axis -= 1) {
      index[axis] += 1;
      from += steps[axis];
      if (index[axis] < sizes[axis]) break;
      from -= steps[axis] * sizes[axis];
      index[axis] = 0;
    }
  }
  return out;
}
