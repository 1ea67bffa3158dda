// One view of an Explorer: a slider for every control, a canvas, a caption.
// With a kernel the frames arrive as messages; in a page without one (model.isStatic) they are the stills in the model's state.

const PAGE_NOTE = "In this page the sliders step through pictures computed beforehand; open the notebook to compute live.";
const NO_STILLS = "This figure needs a running kernel: open the notebook to use it.";

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Returns paint(png bytes): draws a picture unless a newer one has been drawn already (decoding takes its time).
function painter(canvas) {
  const context = canvas.getContext("2d");
  let asked = 0, painted = 0;
  return async (png) => {
    const turn = ++asked;
    const bitmap = await createImageBitmap(new Blob([png], { type: "image/png" }));
    if (turn > painted) {
      painted = turn;
      if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
        canvas.width = bitmap.width;
        canvas.height = bitmap.height;
        // Small pictures are enlarged by a whole factor, with visible pixels.
        const factor = Math.max(1, Math.floor(448 / bitmap.width));
        canvas.style.maxWidth = `${bitmap.width * factor}px`;
        canvas.classList.toggle("explorer-pixels", factor > 1);
      }
      context.drawImage(bitmap, 0, 0);
      canvas.hidden = false;
    }
    bitmap.close();
  };
}

// Returns {row, show(place)}; choices are the indices (into the control's labels) that the slider can stand on.
function slider(control, choices, onMove) {
  const id = "explorer-" + Math.random().toString(36).slice(2);
  const input = element("input", { type: "range", id, min: 0, max: choices.length - 1, step: 1 });
  input.dataset.lmSuppressShortcuts = "true"; // else JupyterLab takes the arrow keys for its own commands
  const value = element("span", { class: "explorer-value", "aria-hidden": "true" }); // read out as aria-valuetext
  const write = () => {
    const label = control.labels[choices[input.value]];
    value.textContent = label;
    input.setAttribute("aria-valuetext", label);
  };
  input.disabled = choices.length < 2;
  input.addEventListener("input", () => { write(); onMove(choices[input.value]); });
  const show = (index) => { input.value = Math.max(0, choices.indexOf(index)); write(); };
  return { row: element("div", { class: "explorer-control" }, element("label", { for: id }, control.label), input, value), show };
}

function render({ model, el }) {
  const isStatic = model.isStatic === true, stills = model.get("stills"), controls = model.get("controls");
  const canvas = element("canvas", { role: "img", "aria-label": model.get("alt") });
  canvas.hidden = true;
  const status = element("p", { class: "explorer-caption" }); // changes at every step: for the eye only
  const spoken = element("p", { class: "explorer-spoken", "aria-live": "polite" }); // the final caption, read out once
  const paint = painter(canvas);
  const caption = (text, final) => {
    status.textContent = text;
    status.classList.remove("explorer-error");
    if (final) spoken.textContent = text;
  };
  const fail = (text) => { caption(text, true); status.classList.add("explorer-error"); };

  const showStill = () => {
    const still = stills[model.get("indices").join(",")];
    if (!still) return fail(NO_STILLS);
    caption(still.caption, true);
    return paint(Uint8Array.from(atob(still.png), (c) => c.charCodeAt(0)));
  };
  const sliders = controls.map((control, k) => slider(control, isStatic ? control.stills : control.labels.map((_, i) => i), (index) => {
    model.set("indices", model.get("indices").with(k, index));
    model.save_changes();
  }));
  const moved = () => {
    sliders.forEach((s, k) => s.show(model.get("indices")[k]));
    if (isStatic) return showStill();
    canvas.setAttribute("aria-busy", "true");
  };
  const received = (message, buffers) => {
    if (message.kind === "frame") { caption(message.caption, false); paint(buffers[0]); }
    if (message.kind === "done") { spoken.textContent = status.textContent; canvas.removeAttribute("aria-busy"); }
    if (message.kind === "error") { fail(message.message); canvas.removeAttribute("aria-busy"); }
  };

  const title = element("p", { class: "explorer-title" }, model.get("title"));
  const figure = element("div", { class: "explorer", role: "group", "aria-label": model.get("title") },
    title, ...sliders.map((s) => s.row), canvas, status, spoken);
  if (isStatic) figure.append(element("p", { class: "explorer-note" }, PAGE_NOTE));
  el.append(figure);
  model.on("change:indices", moved);
  model.on("msg:custom", received);
  const first = moved();
  if (!isStatic) model.send("ready");
  const stop = () => { model.off("change:indices", moved); model.off("msg:custom", received); };
  return isStatic ? Promise.resolve(first).then(() => stop) : stop;
}

export default { render };
