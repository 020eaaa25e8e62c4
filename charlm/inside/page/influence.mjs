// Which earlier characters a prediction depends on: the norm of the gradient of a character's loss
// by each one-hot vector that was read before it (backpropagation through time, as in
// charlm/reference/through_time.py). Norms rank the characters; what another character would really
// have changed is answered by reading it (Reader.reread).

import { probabilities } from "./sampler.mjs";

const WINDOW = 100; // characters

// Returns a norm for each character of the text; 0 for those after `position` and too far before it.
export function influence(reader, position) {
  const { network, ids } = reader;
  const found = new Float32Array(ids.length);
  if (ids[position] < 0) return found;
  const begin = Math.max(0, position - WINDOW);
  const steps = [];
  let at = reader.at(begin - 1);
  for (let t = begin; t < position; t++) {
    if (ids[t] < 0) continue;
    const before = at.states;
    at = reader.after(at, ids[t]);
    const { states, gates } = at;
    const layers = network.layers.map(({ u }, k) => ({
      u: u.slice(),
      gates: gates[k],
      h0: before[k].h,
      c0: before[k].c,
      h: states[k].h,
      c: states[k].c,
    }));
    steps.push({ t, layers });
  }
  if (!steps.length) return found;
  let dx = byOutput(network, at.logits, ids[position]);
  const d = network.noDerivatives();
  for (const { t, layers } of steps.reverse()) {
    found[t] = normOfInput(network, network.back(dx, d, layers));
    dx = new Float32Array(network.H); // only the last output was used
  }
  return found;
}

// Returns dLoss/dx, (H,): the derivative of a character's surprise by the output of the layers.
function byOutput({ H, V, kernel, logits, memory }, given, id) {
  const dLogits = new Float32Array(logits.length);
  dLogits.set(probabilities(given, V, 1));
  dLogits[id] -= 1;
  const dx = new Float32Array(H);
  memory.multiplyTransposed(dLogits, kernel, dx);
  return dx;
}

// Returns the norm of W da, the gradient by a one-hot vector. da: (G*H,)
function normOfInput({ layers, V }, da) {
  const { W } = layers[0];
  let squares = 0;
  for (let v = 0, w = 0; v < V; v++) {
    let sum = 0;
    for (let j = 0; j < da.length; j++, w++) sum += W[w] * da[j];
    squares += sum * sum;
  }
  return Math.sqrt(squares);
}
