// Twin of forward.py.

import { fixed } from "../lib/format.js";
import { plot, series } from "../lib/frame.js";
import { tile } from "../lib/pictures.js";
import { Generator } from "../lib/random.js";
import { qSample } from "../lib/samplers.js";

const SIDE = 28, PIXELS = SIDE ** 2;
const COS = Float64Array.from({ length: SIDE }, (_, j) => Math.cos((2 * Math.PI * j) / SIDE));
const SIN = Float64Array.from({ length: SIDE }, (_, j) => Math.sin((2 * Math.PI * j) / SIDE));

// The discrete Fourier transform of every row of a square, which is turned over its diagonal as well: done twice, that of the picture.
function transformed({ re, im }) {
  const out = { re: new Float64Array(PIXELS), im: new Float64Array(PIXELS) };
  for (let row = 0; row < SIDE; row++) {
    for (let k = 0; k < SIDE; k++) {
      for (let j = 0; j < SIDE; j++) {
        const a = re[row * SIDE + j], b = im[row * SIDE + j], cos = COS[(j * k) % SIDE], sin = SIN[(j * k) % SIDE];
        out.re[k * SIDE + row] += a * cos + b * sin;
        out.im[k * SIDE + row] += b * cos - a * sin;
      }
    }
  }
  return out;
}

// Mean power in rings of equal frequency: entry k - 1 is the ring whose radius rounds to k cycles a picture.
function radialSpectrum(image) {
  const { re, im } = transformed(transformed({ re: image, im: new Float64Array(PIXELS) }));
  const sums = new Float64Array(SIDE), counts = new Float64Array(SIDE); // the corners are the ring of 20 cycles
  const frequency = (k) => (k < SIDE / 2 ? k : k - SIDE);
  re.forEach((a, i) => {
    const ring = Math.round(Math.hypot(frequency(Math.floor(i / SIDE)), frequency(i % SIDE)));
    sums[ring] += (a ** 2 + im[i] ** 2) / PIXELS;
    counts[ring]++;
  });
  return sums.map((sum, k) => sum / counts[k]).slice(1, SIDE / 2 + 1);
}

const rms = (x, y) => Math.sqrt(x.reduce((sum, value, i) => sum + (value - y[i]) ** 2, 0) / x.length);

function spectra(x0, x_t, colours, axes) {
  const clean = radialSpectrum(x0), noised = radialSpectrum(x_t), frequencies = clean.map((_, k) => k + 1);
  return plot(axes, [series(frequencies, clean, colours.clean, { label: "x₀", style: "--" }), series(frequencies, noised, colours.noised, { label: "xₜ" }),
    series(axes.xlim, [1, 1], colours.noise, { label: "pure noise", style: ":", width: 1 })]);
}

export async function* draw({ t, picture }, { options: { seed, titles, colours, axes, network: name }, arrays, network }) {
  const row = (x) => x.subarray(picture * PIXELS, (picture + 1) * PIXELS);
  const x0 = row(arrays.x0), eps = row(new Generator(seed).randn(arrays.x0.length));
  const net = await network(name);
  const x_t = qSample(net.schedule, x0, t, eps);
  const prediction = await net.denoiser()(x_t, t, arrays.cond ? arrays.cond.subarray(picture, picture + 1) : null);
  const above = [x_t, prediction.x0, prediction.eps].map((x, k) => tile(x, 1, titles[k]));
  const [x0Error, epsError] = [rms(prediction.x0, x0), rms(prediction.eps, eps)].map((error) => fixed(error, 2));
  const caption = `t = ${t}: alpha_bar = ${fixed(net.schedule.at(t), 3)}; root-mean-square error of x0-hat ${x0Error}, of eps-hat ${epsError}`;
  yield { rows: [above, [spectra(x0, x_t, colours, axes)]], caption };
}
