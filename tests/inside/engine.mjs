// Runs the page's engine for test_engine.py: node engine.mjs PAGE-FOLDER JOB.json < weights
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, job] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(`${folder}/${name}`));
const { networkOf } = await load("weights.mjs");
const { RandomNumbers } = await load("random.mjs");
const { Reader } = await load("reader.mjs");
const { Writer } = await load("sampler.mjs");
const { influence } = await load("influence.mjs");
const ended = (work) => {
  for (;;) {
    const { done, value } = work.next();
    if (done) return Array.from(value);
  }
};
const asked = JSON.parse(readFileSync(job));
const found = {};

if (asked.random)
  found.random = asked.random.map(([seed, index, n]) => {
    const random = new RandomNumbers(BigInt(seed), index);
    return Array.from({ length: n }, () => random.next());
  });
if (asked.page) {
  const data = readFileSync(0);
  const buffer = data.buffer.slice(data.byteOffset, data.byteOffset + data.length);
  const product = asked.machine ? readFileSync(`${folder}/product.wasm`) : null;
  const network = networkOf(asked.page, buffer, product);
  if (asked.read) {
    let states = network.initialStates();
    found.steps = asked.read.map((id) => {
      states = network.step(id, states, asked.clamp ?? null);
      return {
        logits: Array.from(network.logits.subarray(0, network.V)),
        states: states.map(({ h, c }) => ({ h: Array.from(h), c: Array.from(c) })),
        gates: network.layers.map(({ gates }) => Array.from(gates)),
      };
    });
  }
  if (asked.texts)
    found.texts = asked.texts.map(({ prompt, length, ...options }) => {
      const reader = new Reader(network, prompt);
      while (reader.read(100));
      const writer = new Writer(reader, options);
      return Array.from({ length }, () => writer.next());
    });
  if (asked.reader) {
    const { ids, piece, cells, clamps, others } = asked.reader;
    const reader = new Reader(network, ids);
    while (reader.read(piece));
    found.reader = {
      bits: Array.from(reader.bits),
      mean: reader.mean(1, 3),
      bytes: cells.map(([letter, layer, cell]) => Array.from(reader.bytes(letter, layer, cell))),
      exact: ids.map((_, t) => {
        const { values, here, next } = reader.exact(t, 1, 3);
        return { values, here: here && Array.from(here), next: next && Array.from(next) };
      }),
      clamped: clamps.map((clamp) => ended(reader.reread(0, ids, clamp))),
      others: others.map(([position, id]) => ended(reader.reread(position, ids.with(position, id)))),
    };
  }
  if (asked.influence !== undefined) {
    const reader = new Reader(network, asked.ids);
    while (reader.read(100));
    found.influence = asked.influence.map((position) => Array.from(influence(reader, position)));
  }
  if (asked.speed) {
    let states = network.initialStates();
    for (let k = 0; k < 200; k++) states = network.step(k % network.V, states);
    const began = process.hrtime.bigint();
    for (let k = 0; k < asked.speed; k++) states = network.step(k % network.V, states);
    found.speed = asked.speed / (Number(process.hrtime.bigint() - began) / 1e9);
  }
}
console.log(JSON.stringify(found));
