// Mounts the anywidgets of a page without kernel, require.js or html-manager.
// myst-nb embeds each widget's state as JSON; this reads it, imports each `_esm` and calls its `render`.
(() => {
  const STATE = "application/vnd.jupyter.widget-state+json";
  const VIEW = "application/vnd.jupyter.widget-view+json";

  // What an anywidget asks of its model. `isStatic` tells it that no kernel answers: draw from your own state.
  class Model {
    isStatic = true;
    #state;
    #handlers = {};
    constructor(state) { this.#state = { ...state }; }
    get(name) { return this.#state[name]; }
    set(name, value) {
      if (this.#state[name] === value) return;
      this.#state[name] = value;
      this.#fire(`change:${name}`, this, value);
    }
    on(events, handler) {
      for (const event of events.split(" ")) (this.#handlers[event] ??= []).push(handler);
    }
    off(event, handler) {
      if (!event) this.#handlers = {};
      else this.#handlers[event] = handler ? (this.#handlers[event] ?? []).filter((h) => h !== handler) : [];
    }
    save_changes() { this.#fire("change", this); }
    send() {}
    #fire(event, ...values) { for (const handler of [...(this.#handlers[event] ?? [])]) handler(...values); }
  }

  const read = (type) => [...document.querySelectorAll(`script[type="${type}"]`)];
  const modules = {};
  const load = (source) => (modules[source] ??= (async () => {
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const widget = (await import(url)).default;
    return typeof widget === "function" ? widget() : widget;
  })());

  async function mount(host, record) {
    if (record?.model_module !== "anywidget") throw new Error("this control needs a running kernel");
    const { _esm, _css } = record.state;
    const widget = await load(_esm);
    if (_css) host.append(Object.assign(document.createElement("style"), { textContent: _css }));
    const first = !record.model;
    record.model ??= new Model(record.state);
    if (first) await widget.initialize?.({ model: record.model });
    await widget.render({ model: record.model, el: host.appendChild(document.createElement("div")) });
    host.dataset.mounted = "true";
  }

  function mountAll() {
    const records = Object.assign({}, ...read(STATE).map((s) => JSON.parse(s.textContent).state));
    for (const script of read(VIEW)) {
      const host = document.createElement("div");
      host.className = "explorer-host";
      script.after(host);
      mount(host, records[JSON.parse(script.textContent).model_id]).catch((error) => {
        host.textContent = `This explorer did not start: ${error.message}.`;
        console.error(error);
      });
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", mountAll);
  else mountAll();
})();
