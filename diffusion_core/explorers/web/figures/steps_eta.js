// Twin of steps_eta.py.

import { general } from "../lib/format.js";
import { tile } from "../lib/pictures.js";
import { Generator } from "../lib/random.js";
import { ddim } from "../lib/samplers.js";
import { timesteps } from "../lib/schedules.js";

export async function* draw({ steps, eta }, { options: { seed, columns, network: name }, arrays: { labels }, network }) {
  const x_T = new Generator(seed).randn(labels.length * 28 * 28), generator = new Generator(seed + 1);
  const net = await network(name);
  const path = ddim(net.denoiser(), x_T, net.schedule, timesteps(net.schedule.T, steps), { eta, cond: labels, generator });
  const where = `${steps} steps, eta = ${general(eta)}`;
  let step = null, k = 0;
  for await (step of path) if (++k < steps) yield { rows: [[tile(step.x0, columns)]], caption: `${where}: x0-hat after ${k} network evaluations` };
  yield { rows: [[tile(step.x, columns)]], caption: `${where}: ${steps} network evaluations a picture` };
}
