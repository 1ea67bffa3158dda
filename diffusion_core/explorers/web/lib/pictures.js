// From samples to the pixels of a frame: the twins of pictures.py and refine.py.

import { pictures } from "./frame.js";

export const PREVIEW_STEPS = 4, STEPS = 20;
export const WHITE = 255;
const SIZE = 28, GAP = 2; // pixels of a picture's side, and between two

// Values in [-1, 1] as bytes; values outside are cut off.
export function toPixels(x) {
  return Uint8Array.from(x, (v) => Math.round((Math.min(1, Math.max(-1, v)) + 1) * 127.5));
}

// Grey pictures (n, 28, 28) in [-1, 1], given flat, side by side on white: a panel.
export function tile(x, columns, title = "") {
  const n = x.length / SIZE ** 2, across = Math.min(columns, n), down = Math.ceil(n / across);
  const [height, width] = [down * (SIZE + GAP) - GAP, across * (SIZE + GAP) - GAP];
  const sheet = new Uint8Array(height * width).fill(WHITE), pixels = toPixels(x);
  for (let k = 0; k < n; k++) {
    const top = Math.floor(k / across) * (SIZE + GAP), left = (k % across) * (SIZE + GAP);
    for (let row = 0; row < SIZE; row++) {
      sheet.set(pixels.subarray((k * SIZE + row) * SIZE, (k * SIZE + row + 1) * SIZE), (top + row) * width + left);
    }
  }
  return pictures(sheet, [height, width], title);
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
