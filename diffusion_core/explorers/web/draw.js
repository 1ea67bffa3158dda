// Paints a frame, {rows} of panels of pictures and plots, on a canvas: the browser's twin of render.py. No imports: the view and the page's script contain it.

const FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif";
const MARGIN = { left: 62, narrow: 42, right: 16, top: 8, bottom: 42, title: 20 };
const GAP = 10; // between panels, in CSS pixels like all lengths here
const SMALLEST_ENLARGED = 448; // a lone picture is enlarged by a whole factor up to about this width

// Returns show(frame), which paints a frame as wide as the canvas's parent allows, and paints it again when that or the theme changes.
function painter(canvas) {
  let frame = null, width = 0;
  const paint = () => {
    const room = canvas.parentElement.clientWidth;
    if (!frame || !room) return;
    width = room;
    canvas.hidden = false;
    drawFrame(canvas, frame, room);
  };
  new ResizeObserver(() => canvas.parentElement.clientWidth !== width && paint()).observe(canvas.parentElement);
  new MutationObserver(paint).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  return (next) => { frame = next; paint(); };
}

function drawFrame(canvas, frame, room) {
  const lone = frame.rows.length === 1 && frame.rows[0].length === 1 && frame.rows[0][0].type === "pictures" ? frame.rows[0][0] : null;
  const width = lone ? lone.shape[1] * Math.max(1, Math.floor(Math.min(room, SMALLEST_ENLARGED) / lone.shape[1])) : Math.min(room, 480);
  const heights = frame.rows.map((row) => Math.max(...row.map((panel) => panelHeight(panel, panelWidth(width, row)))));
  const height = heights.reduce((a, b) => a + b, 0) + GAP * (heights.length - 1);
  const sharp = lone ? 1 : window.devicePixelRatio || 1; // the browser enlarges a lone picture, pixel by pixel
  canvas.width = Math.round(lone ? lone.shape[1] : width * sharp);
  canvas.height = Math.round(lone ? lone.shape[0] : height * sharp);
  canvas.style.width = `${Math.min(width, room)}px`;
  canvas.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
  canvas.classList.toggle("explorer-pixels", !!lone);
  const context = canvas.getContext("2d");
  if (lone) return context.putImageData(bitmap(lone), 0, 0);
  context.scale(sharp, sharp);
  const ink = getComputedStyle(canvas).color;
  let top = 0;
  frame.rows.forEach((row, r) => {
    const wide = panelWidth(width, row);
    row.forEach((panel, k) => {
      const place = { left: k * (wide + GAP), top, width: wide, height: heights[r], margin: row.length > 1 ? MARGIN.narrow : MARGIN.left };
      (panel.type === "plot" ? drawPlot : drawPictures)(context, panel, place, ink);
    });
    top += heights[r] + GAP;
  });
}

const panelWidth = (width, row) => (width - GAP * (row.length - 1)) / row.length;

function panelHeight(panel, width) {
  return (panel.title ? MARGIN.title : 0) + width * (panel.type === "plot" ? panel.height : panel.shape[0] / panel.shape[1]);
}

// Grey or colour bytes as ImageData.
function bitmap({ shape: [height, width, channels = 1], data }) {
  const image = new ImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = data[channels * i + (channels === 3 ? c : 0)];
    image.data[4 * i + 3] = 255;
  }
  return image;
}

function drawImage(context, picture, { left, top, width, height }) {
  const small = document.createElement("canvas");
  [small.height, small.width] = picture.shape;
  small.getContext("2d").putImageData(bitmap(picture), 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, left, top, width, height);
}

function write(context, text, x, y, size, align = "center") {
  context.font = `${size}px ${FONT}`;
  context.textAlign = align;
  context.fillText(text, x, y);
}

function drawPictures(context, panel, place, ink) {
  context.fillStyle = ink;
  if (panel.title) write(context, panel.title, place.left + place.width / 2, place.top + 14, 14);
  const top = place.top + (panel.title ? MARGIN.title : 0);
  drawImage(context, panel, { ...place, top, height: place.width * panel.shape[0] / panel.shape[1] });
}

// {at(value): 0 .. 1 along the axis, ticks} of an axis with limits [low, high]. "symlog" is linear within +-linearBelow, which takes half a decade.
function axisOf([low, high], scale, ticks, linearBelow) {
  const through = {
    linear: (v) => v,
    log: (v) => Math.log10(Math.max(v, Number.MIN_VALUE)),
    symlog: (v) => Math.sign(v) * (Math.abs(v) <= linearBelow ? 0.5 * Math.abs(v) / linearBelow : 0.5 + Math.log10(Math.abs(v) / linearBelow)),
  }[scale];
  const [from, to] = [through(low), through(high)];
  return { at: (v) => (through(v) - from) / (to - from), ticks: ticks ?? (scale === "linear" ? evenTicks(low, high) : decades(low, high)) };
}

function evenTicks(low, high) {
  const raw = (high - low) / 5, unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * [1, 2, 2.5, 5, 10].find((m) => m * unit >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, k) => (first + k) * step);
}

function decades(low, high) {
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  const every = Math.ceil((last - first + 1) / 6);
  return Array.from({ length: last - first + 1 }, (_, k) => 10 ** (first + k)).filter((_, k) => k % every === 0);
}

function tickLabel(value) {
  const power = Math.log10(Math.abs(value));
  if (value !== 0 && Number.isInteger(Math.round(power * 1e6) / 1e6) && (power > 4.5 || power < -3.5)) {
    return "10" + String(Math.round(power)).replace(/./g, (c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻");
  }
  return String(Number(value.toPrecision(6)));
}

function drawPlot(context, plot, place, ink) {
  const title = plot.title ? MARGIN.title : 0;
  const box = { left: place.left + place.margin, top: place.top + title + MARGIN.top, width: place.width - place.margin - MARGIN.right };
  box.height = place.height - title - MARGIN.top - MARGIN.bottom;
  const [xs, ys] = [axisOf(plot.xlim, plot.xscale, plot.xticks, plot.linear_below), axisOf(plot.ylim, plot.yscale, plot.yticks, plot.linear_below)];
  const x = (v) => box.left + box.width * xs.at(v), y = (v) => box.top + box.height * (1 - ys.at(v));
  if (plot.image) drawImage(context, plot.image, box);
  drawAxes(context, plot, place, box, { x, y, xs, ys }, ink);
  context.save();
  context.beginPath();
  context.rect(box.left, box.top, box.width, box.height);
  context.clip();
  for (const series of plot.series) drawSeries(context, series, x, y, inkOf(series, ink));
  context.restore();
  if (plot.legend) drawLegend(context, plot, box, ink);
}

const inkOf = (series, ink) => (series.colour.toUpperCase() === "#000000" ? ink : series.colour);

function drawAxes(context, plot, place, box, { x, y, xs, ys }, ink) {
  context.fillStyle = context.strokeStyle = ink;
  context.lineWidth = 1;
  if (plot.title) write(context, plot.title, box.left + box.width / 2, place.top + 14, 14);
  const lines = (alpha, points) => {
    context.globalAlpha = alpha;
    for (const [x0, y0, x1, y1] of points) { context.beginPath(); context.moveTo(x0, y0); context.lineTo(x1, y1); context.stroke(); }
    context.globalAlpha = 1;
  };
  const [right, bottom] = [box.left + box.width, box.top + box.height];
  if (!plot.image) lines(0.15, [...xs.ticks.map((v) => [x(v), box.top, x(v), bottom]), ...ys.ticks.map((v) => [box.left, y(v), right, y(v)])]);
  lines(0.8, [[box.left, box.top, box.left, bottom], [box.left, bottom, right, bottom]]);
  for (const v of xs.ticks) write(context, tickLabel(v), x(v), bottom + 15, 11);
  for (const v of ys.ticks) write(context, tickLabel(v), box.left - 5, y(v) + 4, 11, "right");
  write(context, plot.xlabel, box.left + box.width / 2, bottom + 33, 13);
  context.save();
  context.translate(place.left + 13, box.top + box.height / 2);
  context.rotate(-Math.PI / 2);
  write(context, plot.ylabel, 0, 0, 13);
  context.restore();
}

function drawSeries(context, { x: xs, y: ys, style, width }, x, y, colour) {
  context.strokeStyle = context.fillStyle = colour;
  if (style === "." || style === "o") {
    xs.forEach((v, k) => {
      context.beginPath();
      context.arc(x(v), y(ys[k]), style === "." ? 1.4 : 6, 0, 2 * Math.PI);
      context.fill();
      if (style === "o") { context.strokeStyle = "#fff"; context.lineWidth = 1.5; context.stroke(); }
    });
    return;
  }
  const line = new Path2D();
  xs.forEach((v, k) => line.lineTo(x(v), y(ys[k])));
  if (style === "area") {
    line.lineTo(x(xs[xs.length - 1]), y(0));
    line.lineTo(x(xs[0]), y(0));
    context.globalAlpha = 0.25;
    context.fill(line);
    context.globalAlpha = 1;
    return;
  }
  context.lineWidth = width;
  context.setLineDash({ "-": [], "--": [6, 4], ":": [1.5, 3] }[style]);
  context.stroke(line);
  context.setLineDash([]);
}

function drawLegend(context, plot, box, ink) {
  const named = plot.series.filter((series) => series.label);
  context.font = `12px ${FONT}`;
  const wide = 34 + Math.max(...named.map((series) => context.measureText(series.label).width)), high = 17 * named.length;
  const left = plot.legend.endsWith("right") ? box.left + box.width - wide : plot.legend.endsWith("left") ? box.left + 6 : box.left + (box.width - wide) / 2;
  const top = plot.legend.startsWith("lower") ? box.top + box.height - high - 4 : box.top + 2;
  named.forEach((series, k) => {
    const y = top + 17 * k + 8;
    const mark = { ...series, x: series.style === "o" || series.style === "." ? [left + 12] : [left, left + 24], y: series.style === "o" || series.style === "." ? [y] : [y, y] };
    if (series.style === "area") Object.assign(mark, { style: "-", width: 6 });
    context.globalAlpha = series.style === "area" ? 0.25 : 1;
    drawSeries(context, mark, (v) => v, (v) => v, inkOf(series, ink));
    context.globalAlpha = 1;
    context.fillStyle = ink;
    write(context, series.label, left + 30, y + 4, 12, "left");
  });
}
