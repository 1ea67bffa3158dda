// Twin of copying.py.

import { fixed, grouped } from "../lib/format.js";
import { tile } from "../lib/pictures.js";
import { Generator } from "../lib/random.js";
import { ddim, prediction } from "../lib/samplers.js";
import { Schedule, timesteps } from "../lib/schedules.js";

const D = 28 ** 2, NOTHING = 1e-10; // pixels a picture; a weight that cannot be seen
const GREY = Float32Array.from({ length: 256 }, (_, v) => Math.fround(v / 127.5) - 1);
const loaded = {}, sets = {}; // bytes of each file; {y, squares} of the first n pictures

async function unpacked(file) {
  const answer = await fetch(new URL(`../../models/${file}`, import.meta.url));
  if (!answer.ok) throw new Error(`${answer.url} answered ${answer.status}`);
  return new Uint8Array(await new Response(answer.body.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
}

const load = (file) => (loaded[file] ??= unpacked(file).catch((error) => { delete loaded[file]; throw error; }));

// The first n pictures, Float32Array (n D), and the sum of squares of each.
async function firstPictures(n, files) {
  const parts = await Promise.all(Object.keys(files).filter((size) => size <= n).map((size) => load(files[size])));
  if (sets[n]) return sets[n];
  const y = new Float32Array(n * D), squares = new Float64Array(n);
  let k = 0;
  for (const part of parts) for (const byte of part) y[k++] = GREY[byte];
  for (let i = 0; i < y.length; i++) squares[Math.floor(i / D)] += y[i] ** 2;
  return (sets[n] = { y, squares });
}

// empirical_denoiser
function perfect({ y, squares }, { alphaBar }) {
  const share = new Float64Array(squares.length);
  return async (x, t) => {
    const a = alphaBar[t], x0 = new Float64Array(x.length);
    for (let row = 0; row < x.length; row += D) {
      let highest = -Infinity, total = 0;
      for (let i = 0; i < share.length; i++) {
        let product = 0;
        for (let d = 0; d < D; d++) product += x[row + d] * y[i * D + d];
        share[i] = (2 * Math.sqrt(a) * product - a * squares[i]) / (2 * (1 - a));
        highest = Math.max(highest, share[i]);
      }
      for (let i = 0; i < share.length; i++) total += share[i] = Math.exp(share[i] - highest);
      for (let i = 0; i < share.length; i++) {
        const weight = share[i] / total;
        if (weight > NOTHING) for (let d = 0; d < D; d++) x0[row + d] += weight * y[i * D + d];
      }
    }
    return prediction("x0", Float32Array.from(x0), x, a);
  };
}

// {index, one, two}: the picture of y that is nearest to x (D), and the root-mean-square distances to the nearest two.
function nearest(x, y) {
  let index = 0, one = Infinity, two = Infinity;
  for (let i = 0; i < y.length / D; i++) {
    let far = 0;
    for (let d = 0; d < D; d++) far += (x[d] - y[i * D + d]) ** 2;
    if (far < one) [index, one, two] = [i, far, one];
    else two = Math.min(two, far);
  }
  return { index, one: Math.sqrt(one / D), two: Math.sqrt(two / D) };
}

export async function* draw({ n, who }, { options: { networks, files, columns, seed, steps, copy, titles }, arrays, network, say }) {
  const schedule = new Schedule(arrays.alpha_bar), x_T = new Generator(seed).randn(columns * D);
  if (!sets[n]) say("loading the training pictures");
  const set = await firstPictures(n, files);
  yield null;
  const denoiser = networks[who] ? (await network(networks[who][n])).denoiser() : perfect(set, schedule);
  let step;
  for await (step of ddim(denoiser, x_T, schedule, timesteps(schedule.T, steps))) yield null;
  const found = Array.from({ length: columns }, (_, k) => nearest(step.x.subarray(k * D, (k + 1) * D), set.y));
  const copies = found.filter(({ one, two }) => one < copy * two).length, distance = found.reduce((sum, { one }) => sum + one, 0) / columns;
  const below = Float32Array.from(found.flatMap(({ index }) => [...set.y.subarray(index * D, (index + 1) * D)]));
  yield {
    caption: `${who}, N = ${grouped(n)}: ${copies} of ${columns} are copies; distance to the picture below ${fixed(distance, 2)}`,
    rows: [step.x, below].map((row, k) => [tile(row, columns, titles[k])]),
  };
}
