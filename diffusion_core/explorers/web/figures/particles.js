// Twin of particles.py.

import { fixed } from "../lib/format.js";
import { plot, series } from "../lib/frame.js";
import { GaussianMixture } from "../lib/mixture.js";
import { Generator } from "../lib/random.js";
import { Schedule } from "../lib/schedules.js";

const AT_ONCE = 10; // steps between two chances to be interrupted
const films = {}, walks = {}; // a film that a newer move interrupts goes on from there when it is asked for again

// Physical times, dense near the data, and the schedule alpha_bar = exp(-2 h) of a trap of stiffness 1.
function relaxation({ steps, duration }) {
  const h = Float64Array.from({ length: steps + 1 }, (_, k) => duration * (k / steps) ** 2);
  return { h, schedule: new Schedule(h.map((time) => Math.exp(-2 * time))) };
}

function* forward(mixture, h, n, generator) {
  let { x } = mixture.sample(n, generator);
  yield x;
  for (let t = 1; t < h.length; t++) {
    const keep = Math.exp(h[t - 1] - h[t]), noise = generator.randnDouble(x.length);
    x = x.map((v, i) => keep * v + Math.sqrt(1 - keep ** 2) * noise[i]);
    yield x;
  }
}

function* backward(mixture, h, schedule, n, way, generator) {
  let x = generator.randnDouble(n * mixture.D);
  yield x;
  for (let t = h.length - 1; t > 0; t--) {
    const dh = h[t] - h[t - 1], score = way === "none" ? null : mixture.score(schedule, x, way === "exact" ? t : 0);
    const noise = generator.randnDouble(x.length);
    x = x.map((v, i) => v + (score ? v + 2 * score[i] : -v) * dh + Math.sqrt(2 * dh) * noise[i]);
    yield x;
  }
}

function* filming(key, steps, walk) {
  films[key] ??= [];
  walks[key] ??= walk();
  while (films[key].length <= steps) {
    films[key].push(walks[key].next().value);
    if (films[key].length % AT_ONCE === 0) yield null;
  }
}

export async function* draw({ t, shape, way }, { options }) {
  const { steps, particles, seed, ways, axes, clouds: colours } = options, { h, schedule } = relaxation(options);
  const mixture = new GaussianMixture(...options.shapes[shape]);
  const away = `${shape}, away`, back = `${shape}, ${way}`;
  yield* filming(away, steps, () => forward(mixture, h, particles, new Generator(seed)));
  yield* filming(back, steps, () => backward(mixture, h, schedule, particles, way, new Generator(seed + 1)));
  const clouds = [films[away][t], films[back][steps - t]];
  const typical = clouds.map((cloud) => mixture.logProb(schedule, cloud, t).reduce((sum, value) => sum + value, 0) / particles);
  const panels = Object.entries(colours).map(([title, colour], k) => {
    const [x, y] = [0, 1].map((axis) => clouds[k].filter((_, i) => i % 2 === axis));
    return plot({ ...axes, title }, [series(x, y, colour, { style: "." })]);
  });
  const caption = `time h = ${fixed(h[t], 2)}, alpha_bar = ${fixed(schedule.alphaBar[t], 3)}, back with ${ways[way]}: `
    + `mean log p_h of the two clouds ${fixed(typical[0], 2)} and ${fixed(typical[1], 2)}`;
  yield { caption, rows: [panels] };
}
