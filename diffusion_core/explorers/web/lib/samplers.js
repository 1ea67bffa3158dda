// Samplers, guidance and editing in float32, as diffusion_core has them: every product, sum and quotient is rounded as torch rounds it.
// A denoiser is async (x, t, cond) -> {x0, eps}: x a Float32Array of N rows, t an integer in 1 .. T, cond an Int32Array (N) of labels
// (NULL for none) or null (none at all); x0 and eps are Float32Arrays like x. Pairs are [t, s] as `timesteps` gives them.

export const NULL = -1; // in cond: this row has no condition

const f = Math.fround;

/** NetworkDenoiser's Prediction of kind "v", "eps" or "x0": value (like x) as {x0, eps}; clip limits x0 to [-clip, clip], and eps follows. */
export function prediction(kind, value, x, alphaBar, clip = null) {
  if (!["x0", "eps", "v"].includes(kind)) throw new RangeError(`a prediction must be one of x0, eps, v, got ${kind}`);
  if (clip !== null && !(clip > 0 && clip < Infinity)) throw new RangeError(`clip must be a positive finite number or null, got ${clip}`);
  if (kind === "eps" && alphaBar === 0) throw new RangeError("eps leaves x0 undefined where alphaBar = 0: predict v or x0");
  sameLength(`the predicted ${kind}`, value, x);
  const alpha = Math.sqrt(alphaBar), sigma = Math.sqrt(1 - alphaBar);
  const x0 = kind === "x0" ? value : kind === "v" ? mix(alpha, x, -sigma, value) : rest(x, sigma, value, alpha);
  if (clip !== null) {
    const limited = x0.map((value) => Math.min(Math.max(value, -clip), clip));
    return { x0: limited, eps: rest(x, alpha, limited, sigma) };
  }
  return { x0, eps: kind === "eps" ? value : kind === "v" ? mix(sigma, x, alpha, value) : rest(x, alpha, value, sigma) };
}

/** gaussian.q_sample: sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps, a Float32Array like x0; t in 0 .. T. */
export function qSample(schedule, x0, t, eps) {
  sameLength("eps", eps, x0);
  const a = schedule.at(t);
  return mix(Math.sqrt(a), x0, Math.sqrt(1 - a), eps);
}

/** gaussian.posterior_variance: beta-tilde of the step from t to s < t, a number. */
export function posteriorVariance(schedule, t, s) {
  if (!(s < t)) throw new RangeError(`s must be earlier than t, got s = ${s}, t = ${t}`);
  const a = schedule.at(t, 1), b = schedule.at(s);
  return (1 - b) / (1 - a) * (1 - a / b);
}

/** samplers.ddim: yields {t, s, x, x0} for each pair, x = x_s; eta in [0, 1], a generator (random.js) is needed unless eta = 0. */
export async function* ddim(denoiser, x, schedule, pairs, { eta = 0, cond = null, generator = null } = {}) {
  if (!(eta >= 0 && eta <= 1)) throw new RangeError(`eta must lie in [0, 1], got ${eta}`);
  if (eta > 0 && !generator) throw new TypeError("eta above 0 draws noise: pass a generator");
  checkPairs(schedule, pairs);
  for (const [t, s] of pairs) {
    const { x0, eps } = await denoiser(x, t, cond);
    const a = schedule.at(s), variance = eta ** 2 * posteriorVariance(schedule, t, s);
    x = mix(Math.sqrt(a), x0, Math.sqrt(Math.max(1 - a - variance, 0)), eps);
    if (eta > 0 && s > 0) x = mix(1, x, Math.sqrt(variance), generator.randn(x.length));
    yield { t, s, x, x0 };
  }
}

/** guidance.guided: (1 + w) times the conditional prediction - w times the unconditional one, from one call with 2N rows; w = 0: one with N. */
export function guided(denoiser, w) {
  if (!Number.isFinite(w)) throw new RangeError(`the guidance weight w must be a finite number, got ${w}`);
  return async (x, t, cond) => {
    needed(cond);
    if (w === 0) return denoiser(x, t, cond);
    const twice = new Float32Array(2 * x.length), labels = new Int32Array(2 * cond.length).fill(NULL);
    twice.set(x);
    twice.set(x, x.length);
    labels.set(cond);
    const both = await denoiser(twice, t, labels);
    // Both lines at once: combining x0 alone and taking eps from it, or the other way round, would magnify rounding at one end.
    const lean = (rows) => mix(f(1 + f(w)), rows.subarray(0, x.length), -w, rows.subarray(x.length));
    return { x0: lean(both.x0), eps: lean(both.eps) };
  };
}

/** guidance.interval_guided: guided for low <= t <= high, elsewhere the conditional prediction alone, one call with N rows. */
export function intervalGuided(denoiser, w, low, high) {
  const leaning = guided(denoiser, w), alone = guided(denoiser, 0);
  return (x, t, cond) => (low <= t && t <= high ? leaning : alone)(x, t, cond);
}

/** editing.invert: from clean pictures x0 upwards through the pairs in reverse; yields {t, s, x, x0} with t the earlier time, x = x_s. */
export async function* invert(denoiser, x0, schedule, pairs, { cond = null } = {}) {
  checkPairs(schedule, pairs);
  if (pairs.at(-1)[1] !== 0) throw new RangeError(`inversion starts from clean data: the last pair must end at s = 0, got ${pairs.at(-1)}`);
  let x = x0;
  for (const [t, s] of [...pairs].reverse()) {
    const said = await denoiser(x, Math.max(s, 1), cond);
    x = qSample(schedule, said.x0, t, said.eps);
    yield { t: s, s: t, x, x0: said.x0 };
  }
}

/** editing.sdedit: the guide (a Float32Array of N rows) noised to the first time of the pairs, and `ddim` from there. */
export async function* sdedit(denoiser, guide, schedule, pairs, { eta = 1, cond = null, generator = null } = {}) {
  checkPairs(schedule, pairs);
  if (!generator) throw new TypeError("sdedit draws noise: pass a generator");
  yield* ddim(denoiser, qSample(schedule, guide, pairs[0][0], generator.randn(guide.length)), schedule, pairs, { eta, cond, generator });
}

// a x + b y, a Float32Array.
function mix(a, x, b, y) {
  const first = f(a), second = f(b);
  return x.map((value, i) => f(first * value) + f(second * y[i]));
}

// (x - a y) / b, a Float32Array.
function rest(x, a, y, b) {
  const scale = f(a), divisor = f(b);
  return x.map((value, i) => f(value - f(scale * y[i])) / divisor);
}

function needed(cond) {
  if (!(cond instanceof Int32Array)) throw new TypeError("guidance needs a condition: pass cond, an Int32Array (N)");
}

function sameLength(name, value, x) {
  if (value.length !== x.length) throw new RangeError(`${name} must have the length of x, ${x.length}, got ${value.length}`);
}

// samplers.pairs: each s the next t, below its t, and all in 0 .. T.
function checkPairs(schedule, pairs) {
  const fits = ([t, s], i) => Number.isInteger(t) && Number.isInteger(s) && 0 <= s && s < t && t <= schedule.T && (i === 0 || pairs[i - 1][1] === t);
  if (!Array.isArray(pairs) || !pairs.length || !pairs.every(fits)) {
    throw new RangeError(`pairs must be [t, s] with ${schedule.T} >= t > s >= 0, each s the next t, got ${JSON.stringify(pairs)}`);
  }
}
