// Draws characters. Specification: charlm/generation/constraints.py and sampler.py

import { RandomNumbers } from "./random.mjs";

// Returns softmax(logits / temperature); temperature 0 gives all to the first of the largest.
export function probabilities(logits, V, temperature) {
  const p = new Float64Array(V);
  let best = 0;
  for (let k = 1; k < V; k++) if (logits[k] > logits[best]) best = k;
  if (temperature === 0) {
    p[best] = 1;
    return p;
  }
  let sum = 0;
  for (let k = 0; k < V; k++) sum += p[k] = Math.exp((logits[k] - logits[best]) / temperature);
  for (let k = 0; k < V; k++) p[k] /= sum;
  return p;
}

// Sets all but the most probable characters to 0: at most topK of them (0: all), and the fewest
// whose probabilities sum to topP. Of equal ones the first are kept.
export function filterTopKTopP(p, topK, topP) {
  const order = Array.from(p.keys()).sort((a, b) => p[b] - p[a] || a - b);
  const whole = p.reduce((sum, x) => sum + x, 0);
  let before = 0;
  order.forEach((k, rank) => {
    const more = p[k];
    if (before >= topP * whole || (topK && rank >= topK)) p[k] = 0;
    before += more;
  });
  return p;
}

// Returns a character by inverse transform sampling, for a random number in [0, 1).
export function draw(p, uniform) {
  let sum = 0;
  const edges = p.map((x) => (sum += x));
  return edges.filter((edge) => edge <= uniform * sum).length;
}

// A text that is being written.
export class Writer {
  // reader: has read the beginning. options: { temperature, seed, index, topK, topP }
  constructor(reader, options) {
    this.reader = reader;
    this.options = { temperature: 0.8, seed: 0, index: 0, topK: 0, topP: 1, ...options };
    this.random = new RandomNumbers(this.options.seed, this.options.index);
  }

  // Draws the next id, reads it, and returns it.
  next() {
    const { temperature, topK, topP } = this.options;
    const { network, here } = this.reader;
    const p = probabilities(here.logits, network.V, temperature);
    if (topK || topP < 1) filterTopKTopP(p, topK, topP);
    const id = draw(p, this.random.next());
    this.reader.ids.push(id);
    this.reader.read(1);
    return id;
  }
}
