// numpy's default generator, np.random.default_rng(seed), with the same bits for floats and integers.
//
// A generated operand is thus a line of Python, and every snippet of the page computes with the same
// numbers. SeedSequence expands the seed, PCG64 (XSL RR 128/64) draws; 128 bits are eight limbs of 16.

const MASK = 0xffffffff;

/** numpy's SeedSequence(seed).generate_state(4, uint64), as eight 32-bit words. */
function seedWords(seed) {
  const entropy = [];
  let rest = BigInt(seed);
  do {
    entropy.push(Number(rest & 0xffffffffn));
    rest >>= 32n;
  } while (rest > 0n);
  let hash = 0x43b0d7e5;
  const mixIn = (value) => {
    let v = (value ^ hash) >>> 0;
    hash = Math.imul(hash, 0x931e8875) >>> 0;
    v = Math.imul(v, hash) >>> 0;
    return (v ^ (v >>> 16)) >>> 0;
  };
  const mix = (x, y) => {
    const v = (Math.imul(x, 0xca01f9dd) - Math.imul(y, 0x4973f715)) >>> 0;
    return (v ^ (v >>> 16)) >>> 0;
  };
  const pool = [0, 1, 2, 3].map((i) => mixIn(entropy[i] ?? 0));
  for (let from = 0; from < 4; from += 1) {
    for (let to = 0; to < 4; to += 1) if (from !== to) pool[to] = mix(pool[to], mixIn(pool[from]));
  }
  for (const word of entropy.slice(4)) for (let to = 0; to < 4; to += 1) pool[to] = mix(pool[to], mixIn(word));
  hash = 0x8b51f9dd;
  return Array.from({ length: 8 }, (_, i) => {
    let v = (pool[i % 4] ^ hash) >>> 0;
    hash = Math.imul(hash, 0x58f38ded) >>> 0;
    v = Math.imul(v, hash) >>> 0;
    return (v ^ (v >>> 16)) >>> 0;
  });
}

// 0x2360ed051fc65da44385df649fccf645, its lowest limb first
const MULTIPLIER = [0xf645, 0x9fcc, 0xdf64, 0x4385, 0x5da4, 0x1fc6, 0xed05, 0x2360];

/** The generator of one seed. */
export class Generator {
  /** @param {number|string|bigint} seed a whole number from 0 */
  constructor(seed) {
    const words = seedWords(seed);
    // Words come as pairs, low half first; state and increment are each a high and a low 64 bits.
    const limbs = (high, low) => [low[0], low[1], high[0], high[1]].flatMap((w) => [w & 0xffff, w >>> 16]);
    const start = limbs(words.slice(0, 2), words.slice(2, 4));
    const stream = limbs(words.slice(4, 6), words.slice(6, 8));
    this.increment = stream.map((limb, i) => ((limb << 1) & 0xffff) | (i === 0 ? 1 : stream[i - 1] >>> 15));
    this.state = new Array(8).fill(0);
    this.#step();
    this.#add(start);
    this.#step();
    this.held = null;
  }

  #add(limbs) {
    let carry = 0;
    for (let i = 0; i < 8; i += 1) {
      carry += this.state[i] + limbs[i];
      this.state[i] = carry & 0xffff;
      carry >>>= 16;
    }
  }

  #step() {
    const s = this.state;
    const m = MULTIPLIER;
    const c = this.increment;
    const next = new Array(8);
    let carry = 0;
    for (let i = 0; i < 8; i += 1) {
      let sum = carry + c[i]; // below 2^36: eight products of 32 bits, a carry and a limb
      for (let j = 0; j <= i; j += 1) sum += s[j] * m[i - j];
      next[i] = sum % 0x10000;
      carry = Math.floor(sum / 0x10000);
    }
    this.state = next;
  }

  /** The next 64 bits, as [low, high] words of 32. */
  next64() {
    this.#step();
    const s = this.state;
    const low = (((s[1] ^ s[5]) << 16) | (s[0] ^ s[4])) >>> 0;
    const high = (((s[3] ^ s[7]) << 16) | (s[2] ^ s[6])) >>> 0;
    const rotation = s[7] >>> 10;
    if (rotation === 0) return [low, high];
    const [a, b] = rotation < 32 ? [low, high] : [high, low];
    const by = rotation & 31;
    if (by === 0) return [a, b];
    return [((a >>> by) | (b << (32 - by))) >>> 0, ((b >>> by) | (a << (32 - by))) >>> 0];
  }

  /** The next 32 bits: the low half of a draw, then its high half. */
  next32() {
    if (this.held !== null) {
      const high = this.held;
      this.held = null;
      return high;
    }
    const [low, high] = this.next64();
    this.held = high;
    return low;
  }

  /** `.random(n, np.float32)`: each in [0, 1). */
  floats(n) {
    const out = new Float32Array(n);
    for (let i = 0; i < n; i += 1) out[i] = (this.next32() >>> 8) / 0x1000000;
    return out;
  }

  /** `.random(n)`: float64, each in [0, 1). */
  doubles(n) {
    const out = new Float64Array(n);
    for (let i = 0; i < n; i += 1) {
      const [low, high] = this.next64();
      out[i] = (high * 0x200000 + (low >>> 11)) / 0x20000000000000;
    }
    return out;
  }

  /** `.integers(low, high, n)`: whole numbers, `high` left out, by Lemire's method. */
  integers(low, high, n) {
    const span = high - low;
    const out = new Int32Array(n);
    const threshold = (MASK - (span - 1)) % span;
    for (let i = 0; i < n; i += 1) {
      let product = this.next32() * span;
      while (product % 0x100000000 < threshold) product = this.next32() * span;
      out[i] = low + Math.floor(product / 0x100000000);
    }
    return out;
  }
}
