// A whole network, a character at a time. Specification: charlm/reference/network.py

import { ACTIVATIONS, CELLS, SLOPES } from "./cells.mjs";
import { Memory, roundedUp } from "./product.mjs";

export class Network {
  // config: cell, units, layers, activation, recurrent_activation, skip, reset.
  // layers: for each layer W (D, G*H), U (H, G*H) and b (G*H), or (2, G*H) with a bias of the
  // product h' U. dense: kernel (H, V), bias (V). bytes: product.wasm or null.
  constructor(config, layers, dense, bytes) {
    const { units: H } = config;
    this.config = config;
    this.cell = CELLS[config.cell];
    this.options = {
      activation: ACTIVATIONS[config.activation],
      gate: ACTIVATIONS[config.recurrent_activation],
      slope: SLOPES[config.activation],
      gateSlope: SLOPES[config.recurrent_activation],
      resetBefore: config.cell === "gru" && config.reset === "before",
    };
    const GH = this.cell.gates.length * H;
    const V = dense.bias.length;
    this.H = H;
    this.V = V;
    const wide = roundedUp(GH);
    const ofLayer = 2 * H * (wide + 32) + 2 * wide + 3 * roundedUp(H);
    const size = layers.length * ofLayer + (H + 1) * roundedUp(V) + roundedUp(H);
    this.memory = new Memory(bytes, size);
    this.layers = layers.map(({ W, U, b }, k) => this.#layer(W, U, b, k, GH));
    this.kernel = this.memory.pack(dense.kernel, H, V);
    this.bias = dense.bias;
    this.x = this.memory.vector(H); // the output of the layers so far
    this.logits = this.memory.vector(V);
  }

  #layer(W, U, b, k, GH) {
    const { memory, H } = this;
    const second = b.length > GH; // a bias of the recurrent product
    const found = {
      W: k === 0 ? W : memory.pack(W, H, GH), // of the first layer a row is read, without a product
      b: b.subarray(0, GH),
      d: second ? b.subarray(GH) : null,
      a: memory.vector(GH),
      u: memory.vector(GH),
      h: memory.vector(H),
      gates: new Float32Array(GH),
    };
    if (!this.options.resetBefore) return { ...found, U: memory.pack(U, H, GH) };
    // GRU with the reset gate before the product: the candidate's columns have a product of their own
    const columns = (from, to) => {
      const part = new Float32Array(H * (to - from));
      for (let i = 0; i < H; i++)
        part.set(U.subarray(i * GH + from, i * GH + to), i * (to - from));
      return memory.pack(part, H, to - from);
    };
    const candidate = { U: columns(2 * H, GH), x: memory.vector(H), y: memory.vector(H) };
    return { ...found, U: columns(0, 2 * H), candidate };
  }

  // Returns zeros: for each layer h and, for a cell with c, c.
  initialStates() {
    return this.layers.map(() => this.#states());
  }

  #states() {
    const h = new Float32Array(this.H);
    return this.cell.states === "hc" ? { h, c: new Float32Array(this.H) } : { h, c: h };
  }

  // Reads a character. Fills `this.logits` and each layer's `gates`, and returns the new states.
  // clamp: { layer, cell, value }, a cell whose state keeps a value; or null.
  step(id, states, clamp = null) {
    const after = [];
    this.layers.forEach((layer, k) => {
      const now = this.#states();
      this.#inputs(layer, k, id);
      this.#recurrent(layer, states[k]);
      const { a, u, gates } = layer;
      this.cell.step(a, u, states[k].h, states[k].c, now.h, now.c, gates, this.options);
      if (clamp && clamp.layer === k) this.#clamp(clamp, now, gates);
      if (k === 0 || this.config.skip === "none") this.x.set(now.h);
      else for (let j = 0; j < this.H; j++) this.x[j] += now.h[j];
      after.push(now);
    });
    this.logits.set(this.bias);
    this.memory.multiply(this.x, this.kernel, this.logits);
    return after;
  }

  #inputs({ W, b, a }, k, id) {
    a.set(b);
    if (k > 0) this.memory.multiply(this.x, W, a);
    else for (let j = 0, at = id * b.length; j < b.length; j++) a[j] += W[at + j];
  }

  #recurrent({ U, d, u, h, candidate, a }, before) {
    u.fill(0);
    if (d) u.set(d);
    h.set(before.h);
    this.memory.multiply(h, U, u);
    if (!candidate) return;
    const { H, options } = this;
    for (let j = 0; j < H; j++) candidate.x[j] = options.gate(a[H + j] + u[H + j]) * before.h[j];
    candidate.y.fill(0);
    this.memory.multiply(candidate.x, candidate.U, candidate.y);
    u.set(candidate.y.subarray(0, H), 2 * H);
  }

  #clamp({ cell, value }, now, gates) {
    now.c[cell] = value; // in a cell without c this is h
    if (now.c === now.h) return;
    const o = this.cell.gates.indexOf("o") * this.H;
    now.h[cell] = gates[o + cell] * this.options.activation(now.c[cell]);
  }

  // Returns zeros for `back`: for each layer the derivatives of a loss by its states.
  noDerivatives() {
    return this.layers.map(() => ({ h: new Float32Array(this.H), c: new Float32Array(this.H) }));
  }

  // Takes the derivatives of a loss back through one step of `step`.
  // dx: (H,), by the output of the layers. d: for each layer by its states after the step, which
  // become those before it. at: for each layer { u, gates } of the step, and h0, c0, h, c.
  // Returns dLoss/da of the first layer, (G*H,).
  back(dx, d, at) {
    let da;
    for (let k = this.layers.length - 1; k >= 0; k--) {
      const { W, U, b, candidate } = this.layers[k];
      const du = new Float32Array(roundedUp(b.length));
      da = new Float32Array(roundedUp(b.length));
      for (let j = 0; j < this.H; j++) d[k].h[j] += dx[j];
      this.cell.back(at[k], d[k].h, d[k].c, da, du, this.options, (dg) => {
        const found = new Float32Array(this.H);
        const padded = new Float32Array(roundedUp(this.H));
        padded.set(dg.subarray(0, this.H));
        this.memory.multiplyTransposed(padded, candidate.U, found);
        return found;
      });
      this.memory.multiplyTransposed(du, U, d[k].h);
      if (k === 0) break;
      const below = new Float32Array(this.H);
      this.memory.multiplyTransposed(da, W, below);
      if (this.config.skip !== "none") for (let j = 0; j < this.H; j++) below[j] += dx[j];
      dx = below;
    }
    return da.subarray(0, this.layers[0].b.length);
  }
}
