// Twin of elbo_gap.py. The map of the gap, which no slider changes, comes from there.

import { fixed, general } from "../lib/format.js";
import { pictures, plot, styled } from "../lib/frame.js";

const normal = (z, mean, width) => Math.exp(-(((z - mean) / width) ** 2) / 2) / (width * Math.sqrt(2 * Math.PI));
let known = null; // what no slider changes

// The grid of z, log p(x) by the trapezoid rule, the posterior, the lines of the map, and the key to its colours.
function prepared({ grid: [from, to], shown: [first, last, every], posterior, key, line: style, shapes }, arrays) {
  const { log_joint, lines, lengths } = arrays, step = (to - from) / (log_joint.length - 1), z = log_joint.map((_, k) => from + step * k);
  const top = log_joint.reduce((a, b) => Math.max(a, b));
  const logP = top + Math.log(log_joint.reduce((sum, l) => sum + Math.exp(l - top), 0) * step);
  const part = (values) => Float64Array.from({ length: (last - first) / every + 1 }, (_, k) => values[first + every * k]);
  const near = part(z);
  let start = 0;
  const contours = Array.from(lengths, (n) => {
    const points = lines.subarray(2 * start, 2 * (start += n));
    return styled(points.filter((_, k) => k % 2 === 0), points.filter((_, k) => k % 2 === 1), style);
  });
  return {
    z, step, logP, near, contours,
    posterior: styled(near, part(log_joint).map((l) => Math.exp(l - logP)), posterior),
    legend: plot({ ...key, image: pictures(arrays.key, shapes.key) }, []),
  };
}

export async function* draw({ mean, width }, { options, arrays }) {
  const { z, step, logP, near, contours, posterior, legend } = (known ??= prepared(options, arrays));
  const average = z.reduce((sum, v, k) => sum + normal(v, mean, width) * arrays.log_joint[k], 0) * step;
  const elbo = average + 0.5 * Math.log(2 * Math.PI * Math.E) + Math.log(width);
  const q = plot(options.above, [posterior, styled(near, near.map((v) => normal(v, mean, width)), options.curve)]);
  const map = pictures(arrays.map, options.shapes.map), dot = styled([mean], [width], options.dot);
  const here = `mean ${general(mean)}, width ${general(width)}`, gap = fixed(logP - elbo, 2);
  yield {
    caption: `${here}: ELBO ${fixed(elbo, 2)}, log p(x) ${fixed(logP, 2)}; gap ${gap} nats`,
    rows: [[q], [plot({ ...options.below, image: map }, [...contours, dot])], [legend]],
  };
}
