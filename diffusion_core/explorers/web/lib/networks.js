// The shipped networks, run by ONNX Runtime Web. Nothing is fetched before a network is first asked for.

import { named } from "./schedules.js";
import { prediction } from "./samplers.js";

export class Unable extends Error {} // this browser or this site has no runtime: not a fault of a figure

// Returns network(name) -> {card, run(feeds), denoiser(w)}; root is the address of _static/, say(text) tells the reader what is being loaded.
export function networksOf(root, say) {
  const known = {};
  let starting = null;
  const start = async () => {
    const { runtime, networks } = await (await fetched(root + "models/models.json", "no-cache")).json();
    if (!runtime) throw new Unable("this copy of the book was built without the runtime that runs networks in a page");
    say("loading the runtime for networks");
    const ort = await import(`${root}${runtime}ort.wasm.min.mjs`);
    ort.env.wasm.wasmPaths = root + runtime;
    ort.env.wasm.wasmBinary = await (await fetched(`${root}${runtime}ort-wasm-simd-threaded.wasm`, "force-cache")).arrayBuffer(); // the folder's name holds its version
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
    return { ort, networks };
  };
  const open = async (name) => {
    const { ort, networks } = await (starting ??= start());
    const card = networks[name], bytes = await download(`${root}models/${card.file}`, card.bytes, say);
    say("starting the network");
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    return { card, schedule: card.schedule && named(card.schedule), run: (feeds) => run(ort, session, feeds) };
  };
  return async (name) => {
    const network = await (known[name] ??= open(name));
    return { ...network, denoiser: (w) => denoiserOf(network, w) };
  };
}

// feeds: {input: [typed array, shape]}; the output "out" as Float32Array.
async function run(ort, session, feeds) {
  const types = { Float32Array: "float32", BigInt64Array: "int64" };
  const tensors = Object.fromEntries(Object.entries(feeds).map(([name, [data, shape]]) => [name, new ort.Tensor(types[data.constructor.name], data, shape)]));
  return (await session.run(tensors))[session.outputNames[0]].data;
}

// The network as a denoiser (x, t, cond) -> {x0, eps} of pictures 28 x 28; w is the guidance weight, for a network that takes one.
function denoiserOf({ card, schedule, run }, w, side = 28) {
  return async (x, t, cond) => {
    const n = x.length / side ** 2, feeds = { x: [x.slice(), [n, 1, side, side]], t: [new BigInt64Array(n).fill(BigInt(t - 1)), [n]] };
    if (card.inputs.includes("cond")) feeds.cond = [BigInt64Array.from({ length: n }, (_, k) => BigInt(cond ? cond[k] : -1)), [n]];
    if (card.inputs.includes("w")) feeds.w = [new Float32Array(n).fill(w), [n]];
    return prediction(card.predicts, await run(feeds), x, schedule.alphaBar[t], card.clip);
  };
}

async function fetched(address, cache) {
  const response = await fetch(address, { cache });
  if (!response.ok) throw new Error(`${address} answered ${response.status}`);
  return response;
}

// The file's name holds its checksum, so a copy that the browser kept is good for ever.
async function download(address, size, say) {
  const reader = (await fetched(address, "force-cache")).body.getReader(), bytes = new Uint8Array(size);
  const megabytes = (n) => (n / 1e6).toFixed(1);
  let taken = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes.set(value, taken);
    taken += value.length;
    say(`loading the network: ${megabytes(taken)} of ${megabytes(size)} MB`);
  }
  if (taken !== size) throw new Error(`${address} ended after ${taken} of ${size} bytes`);
  return bytes;
}
