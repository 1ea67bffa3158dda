// Twin of interval.py.

import { general } from "../lib/format.js";
import { pictures as panel } from "../lib/frame.js";
import { STEPS, WHITE, refined, tile } from "../lib/pictures.js";
import { Generator } from "../lib/random.js";
import { ddim, intervalGuided } from "../lib/samplers.js";
import { timesteps } from "../lib/schedules.js";

const guidedSteps = (T, w, low, high) => timesteps(T, STEPS).map(([t]) => w !== 0 && low <= t && t <= high);

// The sheet of pictures with a strip below: one field a step, black where it is guided.
function withStrip({ data, shape: [height, width] }, inside, { strip, guided: dark, alone }) {
  const edge = (k) => Math.floor((k * width) / inside.length), row = new Uint8Array(width).fill(WHITE);
  inside.forEach((guided, k) => row.fill(guided ? dark : alone, edge(k), edge(k + 1) - 1));
  const sheet = new Uint8Array((height + 2 + strip) * width).fill(WHITE);
  sheet.set(data);
  for (let k = 0; k < strip; k++) sheet.set(row, (height + 2 + k) * width);
  return panel(sheet, [height + 2 + strip, width]);
}

export async function* draw({ w, low, high }, { options, network }) {
  const { classes, pictures, columns, seed, network: name } = options;
  const x_T = new Generator(seed).randn(pictures * 28 * 28);
  const cond = Int32Array.from({ length: pictures }, (_, k) => k % classes);
  const net = await network(name);
  const leaning = intervalGuided(net.denoiser(), w, low, high), inside = guidedSteps(net.schedule.T, w, low, high);
  const where = low <= high ? `w = ${general(w)}, t from ${low} to ${high}` : "empty interval: no guidance";
  const run = (n) => ddim(leaning, x_T, net.schedule, timesteps(net.schedule.T, n), { cond });
  yield* refined(run, (x) => withStrip(tile(x, columns), inside, options), where, `${where}: ${inside.filter(Boolean).length} of ${STEPS} steps guided`);
}
