// Twin of reverse_kernel.py.

import { general } from "../lib/format.js";
import { plot, styled } from "../lib/frame.js";

const sum = (values) => values.reduce((a, b) => a + b, 0);
const highest = (values) => values.reduce((a, b) => Math.max(a, b));

// Log density of the points -1 and 1, equally likely, noised to alphaBar.
function logTwoHumps(x, alphaBar) {
  const root = Math.sqrt(alphaBar), variance = 1 - alphaBar;
  const part = (centre) => -((x - centre) ** 2) / (2 * variance);
  const [low, high] = [part(-root), part(root)].sort((a, b) => a - b);
  return high + Math.log1p(Math.exp(low - high)) - Math.log(2 * Math.sqrt(2 * Math.PI * variance));
}

// p(x_s | x_t) on the grid, by Bayes' rule, from the logarithms of p(x_s) and p(x_t | x_s).
function reverseDensity(logPrior, logLikelihood, step) {
  const joint = logPrior.map((log, k) => log + logLikelihood[k]), top = highest(joint);
  const weights = joint.map((log) => Math.exp(log - top)), total = sum(weights) * step;
  return weights.map((w) => w / total);
}

// The Gaussian of the density's mean and variance, and KL(density || Gaussian) in nats.
function matchedGaussian(x, density, step) {
  const average = (value) => sum(density.map((p, k) => (p > 0 ? p * value(x[k], p) : 0))) * step;
  const mean = average((v) => v), variance = average((v) => (v - mean) ** 2);
  const log = (v) => -0.5 * ((v - mean) ** 2 / variance + Math.log(2 * Math.PI * variance));
  return { gaussian: x.map((v) => Math.exp(log(v))), kl: Math.max(average((v, p) => Math.log(p) - log(v)), 0) };
}

const peaks = (density) => density.filter((p, k) => k > 0 && k < density.length - 1 && p > density[k - 1] && p >= density[k + 1]).length;

export async function* draw({ beta, x_t, alpha_bar }, { options }) {
  const { grid: [from, to, points], shown: [first, last, every], axes, curves } = options, step = (to - from) / (points - 1);
  const x = Float64Array.from({ length: points }, (_, k) => from + (to - from) * k / (points - 1));
  const logPrior = x.map((v) => logTwoHumps(v, alpha_bar));
  const logLikelihood = x.map((v) => -((x_t - Math.sqrt(1 - beta) * v) ** 2) / (2 * beta));
  const kernel = reverseDensity(logPrior, logLikelihood, step), { gaussian, kl } = matchedGaussian(x, kernel, step);
  const count = { 1: "one peak", 2: "two peaks" }[peaks(kernel)];
  const prior = logPrior.map(Math.exp), likelihood = logLikelihood.map(Math.exp), top = Math.max(highest(kernel), highest(gaussian));
  const scale = { prior: 0.6 / highest(prior), likelihood: 0.8 / highest(likelihood), kernel: 1 / top, gaussian: 1 / top };
  const part = (curve) => Float64Array.from({ length: (last - first) / every + 1 }, (_, k) => curve[first + every * k]);
  const drawn = Object.entries({ prior, likelihood, kernel, gaussian }).map(([name, curve]) => (
    styled(part(x), part(curve).map((y) => scale[name] * y), curves[name])));
  const far = kl > 1e-9 ? general(kl, 1) : "under 1e-09"; // below that it is rounding error
  const here = `beta = ${general(beta)}, x_t = ${general(x_t)}, alpha_bar_s = ${general(alpha_bar)}`;
  yield { caption: `${here}: ${count}; ${far} nats from the Gaussian`, rows: [[plot(axes, drawn)]] };
}
