// Twin of fill_order.py.

import { fixed } from "../lib/format.js";
import { pictures } from "../lib/frame.js";
import { Generator } from "../lib/random.js";

// Probabilities [pixel][level] of logits (levels, pixels), given flat; of a pixel that is shown, 1 for its level.
function expected(logits, x, hidden, levels) {
  return Array.from(x, (level, i) => {
    if (!hidden[i]) return Array.from({ length: levels }, (_, k) => Number(k === level));
    const own = Array.from({ length: levels }, (_, k) => logits[k * x.length + i]), highest = Math.max(...own);
    const heights = own.map((v) => Math.exp(v - highest)), total = sum(heights);
    return heights.map((height) => height / total);
  });
}

// How many levels the cumulated probabilities stay below chance on, the last level at most.
function pick(p, chance) {
  let level = 0, below = p[0];
  while (level < p.length - 1 && below < chance) below += p[++level];
  return level;
}

const sum = (values) => values.reduce((a, b) => a + b, 0);
const mean = (values) => sum(values) / values.length;

export async function* draw({ order, shown, picture }, { options, arrays, network }) {
  const { orders, names, size, levels, seed, hidden: blue, light, dark, titles } = options, D = size ** 2;
  const part = (rows, k) => rows.subarray(k * D, (k + 1) * D);
  const x = part(arrays.pictures, names.indexOf(picture)), hidden = part(arrays.places, Object.keys(orders).indexOf(order)).map((place) => place >= shown);
  const net = await network(options.network);
  const logits = await net.run({ x: [BigInt64Array.from(x, (level, i) => BigInt(hidden[i] ? levels : level)), [1, size, size]] });
  const p = expected(logits, x, hidden, levels), chance = new Generator(seed + 1).rand(D);
  const doubt = p.map((one) => -sum(one.map((v) => (v ? v * Math.log2(v) : 0))));
  const grey = (level) => Math.round(level * 255 / (levels - 1));
  const panels = [
    Array.from(x, (level, i) => (hidden[i] ? blue : Array(3).fill(grey(level)))),
    p.map((one) => grey(sum(one.map((v, level) => v * level)))),
    doubt.map((bits) => { const share = Math.min(1, Math.max(0, bits / Math.log2(levels))); return light.map((v, c) => Math.round((1 - share) * v + share * dark[c])); }),
    p.map((one, i) => grey(pick(one, chance[i]))),
  ].map((pixels, k) => pictures(Uint8Array.from(pixels.flat()), pixels[0].length ? [size, size, 3] : [size, size], titles[k]));
  const open = [...p.keys()].filter((i) => hidden[i]);
  const unsure = mean(open.map((i) => doubt[i])), paid = mean(open.map((i) => -Math.log2(p[i][x[i]])));
  yield {
    caption: `${orders[order]}, ${shown} of ${D} pixels shown. Of a hidden pixel the network is ${fixed(unsure, 2)} bits in doubt on average; `
      + `the true levels, all predicted at once, cost ${fixed(paid, 2)} bits a pixel.`,
    rows: [panels.slice(0, 2), panels.slice(2)],
  };
}
