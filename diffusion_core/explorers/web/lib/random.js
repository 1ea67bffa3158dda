// torch's CPU generator: a Mersenne Twister (mt19937) and the ways torch turns its 32-bit words into uniforms, normals and integers.
// Uniforms and integers are torch's bit for bit; normals differ in the last bits, since torch's logarithms and cosines do.

const N = 624, M = 397, BLOCK = 16;
const TWO_PI = 2 * Math.PI;

export class Generator {
  #state = new Uint32Array(N);
  #next = N; // how many words of the state have been used
  #spare = null; // the second normal of a pair drawn one by one

  /** torch.Generator().manual_seed(seed); seed an integer in 0 .. 2^53 - 1, of which, as in torch, the lowest 32 bits count. */
  constructor(seed) {
    if (!Number.isSafeInteger(seed) || seed < 0) throw new RangeError(`seed must be an integer in 0 .. 2^53 - 1, got ${seed}`);
    const state = this.#state;
    state[0] = seed; // the array keeps the lowest 32 bits
    for (let i = 1; i < N; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  }

  /** torch.rand(n): Float32Array (n) in [0, 1). */
  rand(n) {
    return this.#fill(new Float32Array(size(n)), () => this.#uniform());
  }

  /** torch.rand(n, dtype=torch.float64): Float64Array (n) in [0, 1). */
  randDouble(n) {
    return this.#fill(new Float64Array(size(n)), () => this.#uniformDouble());
  }

  /** torch.randn(n): Float32Array (n), to about 1e-6. */
  randn(n) {
    return this.#normals(new Float32Array(size(n)), () => this.#uniform());
  }

  /** torch.randn(n, dtype=torch.float64): Float64Array (n). */
  randnDouble(n) {
    return this.#normals(new Float64Array(size(n)), () => this.#uniformDouble());
  }

  /** torch.multinomial(weights, n, replacement=True) for float64 weights (K): Int32Array (n) of indices. */
  multinomial(weights, n) {
    if (!weights.length || !weights.every((w) => w >= 0 && w < Infinity) || !weights.some((w) => w > 0)) {
      throw new RangeError(`weights must be finite, at least 0 and not all 0, got ${weights}`);
    }
    if (size(n) < 1) throw new RangeError(`multinomial draws at least 1, got ${n}`);
    if (n === 1) { // a race of exponential waiting times, as torch draws a single index
      const rates = Array.from(weights, (w) => w / -Math.log1p(-this.#uniformDouble()));
      return Int32Array.of(rates.indexOf(Math.max(...rates)));
    }
    let sum = 0;
    const heights = Array.from(weights, (w) => (sum += w)), last = heights.length - 1;
    return this.#fill(new Int32Array(n), () => {
      const u = this.#uniformDouble(), index = heights.findIndex((h) => h / sum >= u);
      return index < 0 ? last : index;
    });
  }

  /** torch.randperm(n): Int32Array (n). */
  randperm(n) {
    const order = Int32Array.from({ length: size(n) }, (_, i) => i);
    for (let i = 0; i < n - 1; i++) {
      const j = i + this.#word() % (n - i);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  #word() {
    if (this.#next === N) this.#twist();
    let y = this.#state[this.#next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #twist() {
    const state = this.#state;
    for (let i = 0; i < N; i++) {
      const after = state[(i + 1) % N];
      const y = (state[i] & 0x80000000) | (after & 0x7fffffff);
      state[i] = state[(i + M) % N] ^ (y >>> 1) ^ (after & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }

  #uniform() {
    return (this.#word() & 0xffffff) / 2 ** 24;
  }

  #uniformDouble() {
    const high = this.#word() & 0x1fffff; // 53 bits in all, the word drawn first on top
    return (high * 2 ** 32 + this.#word()) / 2 ** 53;
  }

  #fill(out, draw) {
    for (let i = 0; i < out.length; i++) out[i] = draw();
    return out;
  }

  // From 16 values on, torch fills with uniforms and turns blocks of 16 into normals; what is left over at the end is made by drawing
  // the last 16 values anew. Fewer than 16 are drawn one by one, in pairs, of which the second is kept for the next draw.
  #normals(out, draw) {
    if (out.length < BLOCK) return this.#fill(out, () => this.#single());
    this.#fill(out, draw);
    for (let i = 0; i + BLOCK <= out.length; i += BLOCK) boxMuller(out.subarray(i, i + BLOCK));
    if (out.length % BLOCK) boxMuller(this.#fill(out.subarray(-BLOCK), draw));
    return out;
  }

  #single() {
    const kept = this.#spare;
    this.#spare = null;
    if (kept !== null) return kept;
    const angle = TWO_PI * this.#uniformDouble(), radius = Math.sqrt(-2 * Math.log1p(-this.#uniformDouble()));
    this.#spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }
}

// 16 uniforms become 16 normals in place: entries j and j + 8 make a pair. As in torch, float32 draws are made of float32 steps.
function boxMuller(block) {
  const round = block instanceof Float32Array ? Math.fround : (value) => value, turn = round(TWO_PI);
  for (let j = 0; j < 8; j++) {
    const radius = round(Math.sqrt(round(-2 * round(Math.log(1 - block[j]))))), angle = round(turn * block[j + 8]);
    block[j] = radius * Math.cos(angle);
    block[j + 8] = radius * Math.sin(angle);
  }
}

function size(n) {
  if (!Number.isSafeInteger(n) || n < 0) throw new RangeError(`the number of draws must be an integer of at least 0, got ${n}`);
  return n;
}
