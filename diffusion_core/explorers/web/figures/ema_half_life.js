// Twin of ema_half_life.py.

import { fixed, general } from "../lib/format.js";
import { plot, series } from "../lib/frame.js";
import { Generator } from "../lib/random.js";

const decayOf = (halfLife) => (halfLife ? 0.5 ** (1 / halfLife) : 0);

// Expected losses of weight and average at updates 0 .. steps: half of their squared means and variances, which follow a recursion of their own.
function excess(rate, decay, { steps, start }) {
  const a = 1 - rate, b = 1 - decay; // w <- a w + rate xi, then s <- decay s + b w
  let mean = [start, start], [ww, ws, ss] = [0, 0, 0]; // variances and, between them, the covariance
  const rows = [];
  for (let k = 0; ; k++) {
    rows.push([(mean[0] ** 2 + ww) / 2, (mean[1] ** 2 + ss) / 2]);
    if (k === steps) return rows;
    const w = a * mean[0];
    mean = [w, decay * mean[1] + b * w];
    const next = a * a * ww + rate * rate, across = a * ws; // Var[w] and Cov[w, s] once w has moved
    [ww, ws, ss] = [next, decay * across + b * next, decay * decay * ss + 2 * decay * b * across + b * b * next];
  }
}

// One run of weight and average.
function path(rate, decay, { steps, start, seed }) {
  let [w, s] = [start, start];
  const rows = [[w, s]];
  for (const xi of new Generator(seed).randnDouble(steps)) {
    w = (1 - rate) * w + rate * xi;
    s = decay * s + (1 - decay) * w;
    rows.push([w, s]);
  }
  return rows;
}

function panels(run, expected, { steps, every, colours, above, below }) {
  const pair = (rows, step, labels) => labels.map((label, column) => {
    const updates = Array.from({ length: Math.floor(steps / step) + 1 }, (_, k) => k * step);
    return series(updates, updates.map((k) => rows[k][column]), colours[column], { label, width: [1, 2][column] });
  });
  const zero = series(above.xlim, [0, 0], "#777777", { style: ":", width: 1.5 });
  return [[plot(above, [zero, ...pair(run, 1, ["weight", "average"])])], [plot(below, pair(expected, every, ["of the weight", "of the average"]))]];
}

export async function* draw({ half_life: halfLife, rate }, { options }) {
  const decay = decayOf(halfLife), expected = excess(rate, decay, options);
  const at = [50, options.steps].map((k) => `${fixed(expected[k][0], 4)} and ${fixed(expected[k][1], 4)} at ${k}`).join(", ");
  const name = halfLife ? `half-life ${halfLife}, decay ${fixed(decay, 4)}` : "no average";
  yield { caption: `${name}, rate ${general(rate)}: loss of weight and average ${at}`, rows: panels(path(rate, decay, options), expected, options) };
}
