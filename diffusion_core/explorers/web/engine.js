// A worker that computes one figure of a page. It gets {kind: "open", engine, root} once and {kind: "run", run, params} at every move, and answers with
// messages for the view, each with the number of its run. A newer run stops an older one at its next step.

import { networksOf, Unable } from "./lib/networks.js";

let opened = null, newest = 0;

const post = (kind, run, rest = {}) => self.postMessage({ kind, run, ...rest });

// Lets messages in between two steps; a timer would wait 4 ms each time.
const { port1, port2 } = new MessageChannel();
const waiting = [];
port1.onmessage = () => waiting.shift()();
const breath = () => new Promise((resolve) => { waiting.push(resolve); port2.postMessage(null); });

const ARRAYS = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array, float64: Float64Array };
const arrayOf = ({ dtype, base64 }) => new ARRAYS[dtype](Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);

async function open({ engine, root }) {
  const { draw } = await import(`./figures/${engine.module}.js`);
  const arrays = Object.fromEntries(Object.entries(engine.arrays).map(([name, packed]) => [name, arrayOf(packed)]));
  const say = (text) => post("loading", newest, { text });
  return { draw, given: { options: JSON.parse(engine.options), arrays, network: networksOf(root, say), say } };
}

async function compute({ run, params }) {
  newest = run;
  try {
    const { draw, given } = await opened;
    await breath();
    if (run !== newest) return;
    for await (const frame of draw(params, given)) {
      if (run !== newest) return;
      if (frame) post("frame", run, frame);
      await breath();
      if (run !== newest) return;
    }
    post("done", run);
  } catch (error) {
    post(error instanceof Unable ? "unable" : "error", run, { message: `${error.name}: ${error.message}`, text: error.message });
    if (!(error instanceof Unable)) throw error; // to the console
  }
}

self.onmessage = ({ data }) => {
  if (data.kind === "open") opened = open(data);
  else compute(data);
};
