// Mounts the explorers of a page without kernel. myst-nb embeds each widget's state as JSON; the view is _static/explorers/view.js, a classic script, since a page
// opened from a file can import no modules. A worker computes, from the first touch on; where none can, frames computed beforehand are shown, and the page says so.
(() => {
  const STATE = "application/vnd.jupyter.widget-state+json";
  const VIEW = "application/vnd.jupyter.widget-view+json";
  const ROOT = new URL(".", document.currentScript.src).href; // _static/
  const LIVE = "The sliders compute in your browser.", LARGE = " The network is loaded at the first touch, once.";
  const STORED = "The sliders step through pictures computed beforehand, because ";

  // What a view asks of its model; it answers as a kernel would.
  class Model {
    #state;
    #handlers = {};
    #worker = null;
    #run = 0;
    #live;
    constructor(state) {
      this.#state = { ...state };
      const why = !state.engine ? "this figure has no other way in a page." : location.protocol === "file:" ? "this page was opened from a file." :
        typeof Worker !== "function" ? "this browser cannot compute here." :
        state.engine.networks.length && typeof WebAssembly !== "object" ? "this browser has no WebAssembly." : "";
      this.#live = !why;
      if (why) this.#fallBack(why);
    }
    get(name) { return this.#state[name]; }
    set(name, value) {
      if (this.#state[name] === value) return;
      this.#state[name] = value;
      this.#fire(`change:${name}`, this, value);
    }
    on(event, handler) { (this.#handlers[event] ??= []).push(handler); }
    off(event, handler) { this.#handlers[event] = (this.#handlers[event] ?? []).filter((h) => h !== handler); }
    save_changes() { this.#compute(); }
    send() { // the view is ready
      this.#say("note", { text: this.#live ? LIVE + (this.#state.engine.networks.length ? LARGE : "") : this.note });
      this.#showStored();
    }

    // Load what computing needs, before the first move if a touch foretells it.
    warm() {
      if (!this.#live || this.#worker) return;
      this.#worker = new Worker(`${ROOT}explorers/engine.js`, { type: "module" });
      this.#worker.onmessage = ({ data }) => this.#answer(data);
      this.#worker.onerror = (event) => { if (!event.filename) this.#fallBack("this browser could not start a worker."); }; // a module that did not load
      this.#worker.postMessage({ kind: "open", engine: this.#state.engine, root: ROOT });
    }

    #say(kind, rest = {}) { this.#fire("msg:custom", { kind, ...rest }, []); }
    #fire(event, ...values) { for (const handler of [...(this.#handlers[event] ?? [])]) handler(...values); }
    #compute() {
      if (!this.#live) return this.#showStored();
      if (!this.#worker) this.#showStored(); // where there is one, until the first answer
      this.warm();
      const params = Object.fromEntries(this.#state.controls.map((c, k) => [c.name, c.values[this.#state.indices[k]]]));
      this.#worker.postMessage({ kind: "run", run: ++this.#run, params });
    }
    #answer({ run, kind, ...rest }) {
      if (kind === "unable") return this.#fallBack(`${rest.text}.`);
      if (run === this.#run && this.#live) this.#say(kind, rest);
    }
    #showStored() {
      const stored = this.#state.stills[this.#state.indices.join(",")];
      if (!stored) return;
      const buffers = stored.buffers.map((text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
      this.#fire("msg:custom", { kind: "frame", ...stored }, buffers);
      this.#say("done");
    }
    #fallBack(why) {
      this.#live = false;
      this.#worker?.terminate();
      this.note = STORED + why;
      this.#say("note", { text: this.note });
      const nearest = (index, allowed) => allowed.reduce((a, b) => (Math.abs(b - index) < Math.abs(a - index) ? b : a));
      this.#state.indices = this.#state.indices.map((index, k) => nearest(index, this.#state.controls[k].stills));
      this.set("controls", this.#state.controls.map((control) => ({ ...control, choices: control.stills })));
      this.#showStored();
    }
  }

  const read = (type) => [...document.querySelectorAll(`script[type="${type}"]`)];

  function mount(host, record) {
    if (record?.model_module !== "anywidget") throw new Error("this control needs a running kernel");
    host.append(Object.assign(document.createElement("style"), { textContent: record.state._css }));
    const model = (record.model ??= new Model(record.state)); // one model, however often it is shown
    for (const event of ["pointerdown", "focusin"]) host.addEventListener(event, () => model.warm());
    globalThis.explorerView.render({ model, el: host.appendChild(document.createElement("div")) });
    host.dataset.mounted = "true";
  }

  function mountAll() {
    const records = Object.assign({}, ...read(STATE).map((s) => JSON.parse(s.textContent).state));
    for (const script of read(VIEW)) {
      const host = document.createElement("div");
      host.className = "explorer-host";
      script.after(host);
      try {
        mount(host, records[JSON.parse(script.textContent).model_id]);
      } catch (error) {
        host.textContent = `This explorer did not start: ${error.message}.`;
        console.error(error);
      }
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", mountAll);
  else mountAll();
})();
