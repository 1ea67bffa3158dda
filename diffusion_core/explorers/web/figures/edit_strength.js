// Twin of edit_strength.py.

import { fixed } from "../lib/format.js";
import { PREVIEW_STEPS, STEPS, tile } from "../lib/pictures.js";
import { Generator } from "../lib/random.js";
import { ddim, guided, invert, sdedit } from "../lib/samplers.js";
import { timesteps } from "../lib/schedules.js";

// The class each of n pictures is taken for: the one of the largest logit.
async function judged(judge, x, n) {
  const logits = await judge.run({ x: [x, [n, 1, 28, 28]] }), K = logits.length / n;
  return Array.from({ length: n }, (_, k) => logits.subarray(k * K, (k + 1) * K)).map((own) => own.indexOf(Math.max(...own)));
}

// null for each step on the way to t0 and back, at last the edit.
async function* edited({ net, pictures, labels, w, seed }, t0, method, target, steps) {
  const { schedule } = net, pairs = timesteps(t0, Math.min(steps, t0)), editor = guided(net.denoiser(), w), cond = labels.map(() => target);
  let back;
  if (method === "inversion") {
    let up;
    for await (up of invert(net.denoiser(), pictures, schedule, pairs, { cond: labels })) yield null;
    back = ddim(editor, up.x, schedule, pairs, { cond });
  } else {
    back = sdedit(editor, pictures, schedule, pairs, { eta: 0, cond, generator: new Generator(seed) });
  }
  for await (const { s, x } of back) yield s === 0 ? x : null;
}

export async function* draw({ strength, method, target }, { options: { classes, w, seed, titles, networks }, arrays: { pictures, labels }, network }) {
  const net = await network(networks.denoiser), judge = await network(networks.judge);
  const t0 = Math.round(strength * net.schedule.T), n = labels.length;
  for (const steps of [PREVIEW_STEPS, STEPS]) {
    for await (const x of edited({ net, pictures, labels, w, seed }, t0, method, target, steps)) {
      if (!x) {
        yield null;
        continue;
      }
      const taken = (await judged(judge, x, n)).filter((label) => label === target).length;
      const moved = Math.sqrt(x.reduce((sum, v, i) => sum + ((v - pictures[i]) / 2) ** 2, 0) / x.length);
      const made = steps === PREVIEW_STEPS ? "preview" : `${steps} steps`;
      yield {
        caption: `${method} to t0 = ${t0}, back as ${classes[target]}, ${made}: ${taken} of ${n} taken for one; pixels moved by ${fixed(moved, 2)} of the range`,
        rows: [pictures, x].map((row, k) => [tile(row, n, titles[k])]),
      };
    }
  }
}
