// Twin of variance_gap.py.

import { general } from "../lib/format.js";
import { plot, series } from "../lib/frame.js";
import { linear } from "../lib/schedules.js";

const known = {}; // gaps by variance, of each spread: the longest schedules take a while
const schedules = {};
const scheduleOf = (T) => (schedules[T] ??= linear(T));

const stateVariance = (a, c2) => a * c2 + 1 - a;
const excess = (ratio) => ratio - 1 - Math.log1p(ratio - 1);

// True variance of x_{t-1} given x_t over the one the step has, t = 1 .. T.
function varianceRatios({ T, alphaBar: a }, c2, variance) {
  return Float64Array.from({ length: T }, (_, k) => {
    const t = k + 1, u = Math.max(t, 2); // beta-tilde of the first step is that of the second
    const beta = 1 - a[t] / a[t - 1], true_ = beta * stateVariance(a[t - 1], c2) / stateVariance(a[t], c2);
    return true_ / { small: (1 - a[u - 1]) / (1 - a[u]) * (1 - a[u] / a[u - 1]), large: beta, optimal: true_ }[variance];
  });
}

function boundGap(schedule, c2, variance) {
  const last = stateVariance(schedule.alphaBar[schedule.T], c2);
  return 0.5 * (excess(last) + varianceRatios(schedule, c2, variance).reduce((sum, r) => sum + excess(r), 0));
}

function panels(T, variance, ratios, gaps, { lengths, colours, styles, above, below }) {
  const times = Array.from({ length: 300 }, (_, k) => Math.min(T, Math.max(1, Math.round(10 ** (Math.log10(T) * k / 299)))));
  const shown = [...new Set(times)];
  const curve = (name) => series(lengths, gaps[name], colours[name], { label: name, style: styles[name], width: name === variance ? 2.5 : 1.2 });
  const dot = series([T], [gaps[variance][lengths.indexOf(T)]], colours[variance], { style: "o" });
  return [
    [plot(above, [series([0.9, 1.1e5], [1, 1], "#999999", { width: 1 }), series(shown, shown.map((t) => ratios[t - 1]), colours[variance])])],
    [plot(below, [...Object.keys(colours).map(curve), dot])],
  ];
}

export async function* draw({ T, variance, spread }, { options }) {
  if (!known[spread]) {
    const gaps = {};
    for (const name of Object.keys(options.colours)) {
      gaps[name] = options.lengths.map((length) => boundGap(scheduleOf(length), spread ** 2, name));
      yield null;
    }
    known[spread] = gaps;
  }
  const gaps = known[spread], here = gaps[variance][options.lengths.indexOf(T)];
  const caption = `T = ${T}, ${variance} variance, data sd ${general(spread)}: gap ${general(here, 2)} nats; at T = ${options.lengths.at(-1)}: ${general(gaps[variance].at(-1), 2)}`;
  yield { caption, rows: panels(T, variance, varianceRatios(scheduleOf(T), spread ** 2, variance), gaps, options) };
}
