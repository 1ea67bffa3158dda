// Twin of strength.py.

import { general } from "../lib/format.js";
import { STEPS, refined, tile } from "../lib/pictures.js";
import { Generator } from "../lib/random.js";
import { ddim, guided } from "../lib/samplers.js";
import { timesteps } from "../lib/schedules.js";

export async function* draw({ w, label, who }, { options: { classes, pictures, columns, seed, networks, mixed }, network }) {
  const x_T = new Generator(seed).randn(pictures * 28 * 28);
  const cond = Int32Array.from({ length: pictures }, (_, k) => (label === mixed ? k % classes.length : label));
  const net = await network(networks[who]);
  const leaning = who === "student" ? net.denoiser(w) : guided(net.denoiser(), w);
  const what = label === mixed ? "all classes" : classes[label];
  const run = (n) => ddim(leaning, x_T, net.schedule, timesteps(net.schedule.T, n), { cond });
  yield* refined(run, (x) => tile(x, columns), `${what}, w = ${general(w)}`, `${what}, w = ${general(w)} (scale 1 + w = ${general(1 + w)}), ${STEPS} steps`);
}
