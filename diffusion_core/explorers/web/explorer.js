// The view of an Explorer: a slider for every control, a canvas, a caption. draw.js stands before it.
// Who computes is not its matter: a kernel, a worker of the page and the frames stored in a page all answer with the same messages.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// The message with typed arrays in place of numbers of buffers. A buffer comes as ArrayBuffer or a view of one, at any offset.
function withArrays({ rows, caption }, buffers) {
  const bytes = (k) => { const b = buffers[k]; return ArrayBuffer.isView(b) ? new Uint8Array(b.buffer, b.byteOffset, b.byteLength).slice() : new Uint8Array(b); };
  const floats = (k) => new Float32Array(bytes(k).slice().buffer);
  const picture = (p) => p && { ...p, data: bytes(p.data) };
  const plot = (p) => ({ ...p, image: picture(p.image), series: p.series.map((s) => ({ ...s, x: floats(s.x), y: floats(s.y) })) });
  return { caption, rows: rows.map((row) => row.map((panel) => (panel.type === "plot" ? plot : picture)(panel))) };
}

// Returns {row, show(index), limit(choices)}; choices are the indices (into the control's labels) that the slider can stand on.
function slider(control, onMove) {
  const id = "explorer-" + Math.random().toString(36).slice(2);
  const input = element("input", { type: "range", id, min: 0, step: 1 });
  input.dataset.lmSuppressShortcuts = "true"; // else JupyterLab takes the arrow keys for its own commands
  const value = element("span", { class: "explorer-value", "aria-hidden": "true" }); // read out as aria-valuetext
  let choices = [];
  const say = () => {
    const label = control.labels[choices[input.value]];
    value.textContent = label;
    input.setAttribute("aria-valuetext", label);
  };
  input.addEventListener("input", () => { say(); onMove(choices[input.value]); });
  const show = (index) => { input.value = Math.max(0, choices.indexOf(index)); say(); };
  const limit = (allowed) => {
    choices = allowed ?? control.labels.map((_, k) => k);
    input.max = choices.length - 1;
    input.disabled = choices.length < 2;
  };
  return { row: element("div", { class: "explorer-control" }, element("label", { for: id }, control.label), input, value), show, limit };
}

function render({ model, el }) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches; // then no pictures on the way, only what stays
  const alt = model.get("alt");
  const canvas = element("canvas", { role: "img", "aria-label": alt });
  canvas.hidden = true;
  const status = element("p", { class: "explorer-caption" }); // changes at every step: for the eye only
  const spoken = element("p", { class: "explorer-spoken", "aria-live": "polite" }); // the final caption, read out once
  const note = element("p", { class: "explorer-note" });
  note.hidden = true;
  const say = (text, failed = false) => {
    status.textContent = text;
    status.classList.toggle("explorer-error", failed);
  };
  const sliders = model.get("controls").map((control, k) => slider(control, (index) => {
    model.set("indices", model.get("indices").with(k, index));
    model.save_changes();
  }));
  const title = element("p", { class: "explorer-title" }, model.get("title"));
  const figure = element("div", { class: "explorer", role: "group", "aria-label": model.get("title") },
    title, ...sliders.map((s) => s.row), element("div", { class: "explorer-figure" }, canvas), status, spoken, note);
  el.append(figure);

  const paint = painter(canvas);
  let frame = null;
  const settle = () => {
    if (frame && calm) paint(frame);
    spoken.textContent = status.textContent;
    canvas.setAttribute("aria-label", `${alt} Now: ${status.textContent}`);
    canvas.removeAttribute("aria-busy");
  };
  const answers = {
    frame(message, buffers) {
      frame = buffers?.length ? withArrays(message, buffers) : message;
      figure.frame = frame; // what is shown, as numbers: for tests
      say(frame.caption);
      if (!calm || canvas.hidden) paint(frame);
    },
    done: settle,
    error(message) { say(message.message, true); frame = null; settle(); },
    loading(message) { say(message.text); },
    note(message) { note.textContent = message.text; note.hidden = !message.text; },
  };
  const received = (message, buffers) => answers[message.kind](message, buffers);
  const moved = () => {
    sliders.forEach((s, k) => { s.limit(model.get("controls")[k].choices); s.show(model.get("indices")[k]); });
    canvas.setAttribute("aria-busy", "true");
  };
  model.on("change:indices", moved);
  model.on("change:controls", moved);
  model.on("msg:custom", received);
  moved();
  model.send("ready");
  return () => { model.off("change:indices", moved); model.off("change:controls", moved); model.off("msg:custom", received); };
}

export default { render };
