// Twin of loss_spending.py.

import { general } from "../lib/format.js";
import { plot, series } from "../lib/frame.js";
import { cosine, fromBetas, linear } from "../lib/schedules.js";

const GAMMA = 5;
const from = Math.sqrt(0.00085), to = Math.sqrt(0.012);
const SCHEDULES = {
  linear: linear(1000),
  cosine: cosine(1000),
  "scaled linear": fromBetas(Float64Array.from({ length: 1000 }, (_, k) => (from + (to - from) * k / 999) ** 2)),
};

// The error of x0 where that of the target is 1.
const unitError = (snr, predicts) => ({ x0: 1, eps: snr ** -0.5, v: (snr + 1) ** -0.5 })[predicts];

// What a loss pays for a squared error of x0 at t.
function x0Weight(schedule, t, predicts, weighting) {
  const snr = schedule.snr(t);
  return { plain: unitError(snr, predicts) ** -2, "min-SNR 5": Math.min(snr, GAMMA), bound: 0.5 * (schedule.snr(t - 1) - snr) }[weighting];
}

// Shares of the loss of the exact denoiser at t = 2 .. T.
function spending(schedule, predicts, weighting, variance) {
  const paid = Float64Array.from({ length: schedule.T - 1 }, (_, k) => x0Weight(schedule, k + 2, predicts, weighting) * variance / (1 + variance * schedule.snr(k + 2)));
  const total = paid.reduce((sum, p) => sum + p, 0);
  return paid.map((p) => p / total);
}

function panels(schedule, spent, predicts, half, { points, colours, above, below }) {
  const shown = (first) => Array.from({ length: points }, (_, k) => first + Math.round(k * (schedule.T - first) / (points - 1)));
  const t = shown(1), u = shown(2);
  const error = (kind) => series(t, t.map((time) => unitError(schedule.snr(time), kind)), colours[kind], { label: kind, width: kind === predicts ? 3 : 1.2 });
  const level = series(below.xlim, [1, 1], "#999999", { width: 1 }), until = series([half, half], below.ylim, "#777777", { style: ":", width: 1.5 });
  return [
    [plot(above, Object.keys(colours).map(error))],
    [plot(below, [level, until, series(u, u.map((time) => spent[time - 2] * spent.length), colours[predicts])])],
  ];
}

export async function* draw({ predicts, weighting, schedule }, { options }) {
  const chosen = SCHEDULES[schedule], spent = spending(chosen, predicts, weighting, options.variance);
  let half = 2;
  for (let sum = spent[0]; sum < 0.5; sum += spent[half - 2]) half++;
  const caption = `${predicts}, ${weighting}, ${schedule}: half of the loss is spent by t = ${half}; `
    + `at t = T a unit error of ${predicts} is ${general(unitError(chosen.snr(chosen.T), predicts), 3)} of x0`;
  yield { caption, rows: panels(chosen, spent, predicts, half, options) };
}
