// From samples to the pixels of a frame: the twins of pictures.py and refine.py.

import { pictures } from "./frame.js";

export const PREVIEW_STEPS = 4, STEPS = 20;
const WHITE = 255;

// Values in [-1, 1] as bytes; values outside are cut off.
export function toPixels(x) {
  return Uint8Array.from(x, (v) => Math.round((Math.min(1, Math.max(-1, v)) + 1) * 127.5));
}

// Grey pictures (n, size, size) in [-1, 1], given flat, side by side on white: a panel. gap in pixels.
export function tile(x, columns, size = 28, gap = 2) {
  const n = x.length / size ** 2, across = Math.min(columns, n), down = Math.ceil(n / across);
  const [height, width] = [down * (size + gap) - gap, across * (size + gap) - gap];
  const sheet = new Uint8Array(height * width).fill(WHITE), pixels = toPixels(x);
  for (let k = 0; k < n; k++) {
    const top = Math.floor(k / across) * (size + gap), left = (k % across) * (size + gap);
    for (let row = 0; row < size; row++) {
      sheet.set(pixels.subarray((k * size + row) * size, (k * size + row + 1) * size), (top + row) * width + left);
    }
  }
  return pictures(sheet, [height, width]);
}

// The frames of run(4) and then run(20), async samplers of that many steps, whose states show(x) turns into a panel.
export async function* refined(run, show, what, done) {
  let preview = null, step = null, k = 0;
  for await (step of run(PREVIEW_STEPS)) if (++k < PREVIEW_STEPS) yield null;
  preview = show(step.x);
  yield { rows: [[preview]], caption: `${what}: preview in ${PREVIEW_STEPS} steps` };
  k = 0;
  for await (step of run(STEPS)) if (++k < STEPS) yield { rows: [[preview]], caption: `${what}: preview, refining ${k} / ${STEPS}` };
  yield { rows: [[show(step.x)]], caption: done };
}
