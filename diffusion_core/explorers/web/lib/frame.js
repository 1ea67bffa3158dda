// The parts of a frame, as figure.py has them.

const PLOT = {
  type: "plot", xlabel: "", ylabel: "", xscale: "linear", yscale: "linear", xticks: null, yticks: null, linear_below: 0, title: "", legend: "", height: 0.5, image: null,
};

// Plot(series, ...): axes are its other fields, which a Python explorer declares and passes on as options.
export const plot = (axes, series) => ({ ...PLOT, ...axes, series });

// Series(x, y, colour, ...)
export function series(x, y, colour, { label = "", style = "-", width = 2 } = {}) {
  return { x: Float32Array.from(x), y: Float32Array.from(y), colour, label, style, width };
}

// The same with the colour among the rest, as explorers declare a style.
export const styled = (x, y, { colour, ...rest }) => series(x, y, colour, rest);

// Pictures(pixels, title) of bytes given flat.
export const pictures = (data, shape, title = "") => ({ type: "pictures", title, shape, data });
