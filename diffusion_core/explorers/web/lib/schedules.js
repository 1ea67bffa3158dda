// Noise schedules (diffusion_core/schedules.py): tables alphaBar (T + 1), float64, for the papers' t = 1 .. T; entry 0 is clean data.

const MAX_BETA = 0.999;

/** Schedule(alpha_bar): {T, alphaBar} of a table, Float64Array (T + 1), that starts within [0, 1] and falls strictly from t = 1 on. */
export class Schedule {
  constructor(alphaBar) {
    const falls = alphaBar.every((a, t) => a >= 0 && (t === 0 ? a <= 1 : t === 1 ? a <= alphaBar[0] : a < alphaBar[t - 1]));
    if (!(alphaBar instanceof Float64Array) || alphaBar.length < 2 || !falls) {
      throw new RangeError("alphaBar must be a Float64Array (T + 1) that falls strictly within [0, 1] from t = 1 on and starts no lower at t = 0");
    }
    this.T = alphaBar.length - 1;
    this.alphaBar = alphaBar;
  }

  /** alpha_bar_t; throws for a t outside lowest .. T. */
  at(t, lowest = 0) {
    if (!Number.isInteger(t) || t < lowest || t > this.T) throw new RangeError(`t must be an integer in ${lowest} .. ${this.T}, got ${t}`);
    return this.alphaBar[t];
  }

  /** Schedule.snr: alpha_bar_t / (1 - alpha_bar_t), infinite for clean data. */
  snr(t) {
    const a = this.at(t);
    return a / (1 - a);
  }

  /** Schedule.betas: 1 - alpha_bar_t / alpha_bar_{t-1}, Float64Array (T + 1), entry 0 being 0. */
  get betas() {
    return this.alphaBar.map((a, t) => (t ? 1 - a / this.alphaBar[t - 1] : 0));
  }
}

/** Schedule.linear(T): betas rising evenly from 1e-4 to 0.02, both times 1000 / T and at most 0.999. */
export function linear(T) {
  checkLength(T);
  const scale = 1000 / T, start = Math.min(1e-4 * scale, MAX_BETA), end = Math.min(0.02 * scale, MAX_BETA);
  return fromBetas(Float64Array.from({ length: T }, (_, i) => (T === 1 ? start : start + (i / (T - 1)) * (end - start))));
}

/** Schedule.cosine(T): alpha_bar_t = f(t) / f(0), f(t) = cos^2((t/T + 0.008) / 1.008 pi/2), each beta at most 0.999. */
export function cosine(T) {
  checkLength(T);
  const f = (t) => Math.cos(((t / T + 0.008) / 1.008) * Math.PI / 2) ** 2;
  return fromBetas(Float64Array.from({ length: T }, (_, i) => Math.min(1 - f(i + 1) / f(i), MAX_BETA)));
}

/** Schedule.from_betas: alpha_bar_t = (1 - beta_1) .. (1 - beta_t) from betas (T) in (0, 1]. */
export function fromBetas(betas) {
  if (!betas.length || !betas.every((beta) => beta > 0 && beta <= 1)) throw new RangeError("betas must be at least one number with 0 < beta <= 1");
  const alphaBar = new Float64Array(betas.length + 1).fill(1);
  betas.forEach((beta, i) => { alphaBar[i + 1] = alphaBar[i] * (1 - beta); });
  return new Schedule(alphaBar);
}

/** zoo.schedule_of: the schedule that a model's card names, {name: "linear" or "cosine", T}. */
export function named({ name, T }) {
  const makers = { linear, cosine };
  if (!Object.hasOwn(makers, name)) throw new RangeError(`schedule must be one of ${Object.keys(makers).join(", ")}, got ${name}`);
  return makers[name](T);
}

/** timesteps(T, n), trailing: the n pairs [t, s], t = round(T), round(T - T/n), .., each s the next t, the last s = 0. */
export function timesteps(T, n) {
  checkLength(T);
  if (!Number.isInteger(n) || n < 1 || n > T) throw new RangeError(`steps must be an integer in 1 .. ${T}, got ${n}`);
  const times = Array.from({ length: n + 1 }, (_, i) => rounded((n - i) * T, n));
  return times.slice(0, n).map((t, i) => [t, times[i + 1]]);
}

// Python's round(Fraction(a, b)) of integers: halves go to the even neighbour.
function rounded(a, b) {
  const whole = Math.floor(a / b), twice = 2 * (a - whole * b);
  return twice > b || (twice === b && whole % 2 === 1) ? whole + 1 : whole;
}

function checkLength(T) {
  if (!Number.isSafeInteger(T) || T < 1) throw new RangeError(`T must be an integer of at least 1, got ${T}`);
}
