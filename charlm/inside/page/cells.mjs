// The cells, a step at a time. Specification: charlm/reference/lstm.py, gru.py, rnn.py, coupled.py
//
// step(a, u, h0, c0, h, c, gates): a = x W + b and u = h' U + d hold a block of H numbers for each
// gate; h0, c0 are the states before the step, h, c those after it, which it fills, and it fills
// the gates' blocks, too. A cell without c reads and writes h alone.

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const tanh = Math.tanh;

export const ACTIVATIONS = {
  tanh,
  sigmoid,
  relu: (x) => Math.max(0, x),
  linear: (x) => x,
  hard_sigmoid: (x) => Math.min(1, Math.max(0, x / 6 + 0.5)),
};

export const CELLS = {
  lstm: {
    gates: "ifgo",
    states: "hc",
    step(a, u, h0, c0, h, c, gates, { activation, gate }) {
      const H = h.length;
      for (let j = 0; j < H; j++) {
        const i = gate(a[j] + u[j]);
        const f = gate(a[H + j] + u[H + j]);
        const g = activation(a[2 * H + j] + u[2 * H + j]);
        const o = gate(a[3 * H + j] + u[3 * H + j]);
        c[j] = f * c0[j] + i * g;
        h[j] = o * activation(c[j]);
        gates[j] = i;
        gates[H + j] = f;
        gates[2 * H + j] = g;
        gates[3 * H + j] = o;
      }
    },
  },
  coupled: {
    gates: "fgo",
    states: "hc",
    step(a, u, h0, c0, h, c, gates, { activation, gate }) {
      const H = h.length;
      for (let j = 0; j < H; j++) {
        const f = gate(a[j] + u[j]);
        const g = activation(a[H + j] + u[H + j]);
        const o = gate(a[2 * H + j] + u[2 * H + j]);
        c[j] = f * c0[j] + (1 - f) * g;
        h[j] = o * activation(c[j]);
        gates[j] = f;
        gates[H + j] = g;
        gates[2 * H + j] = o;
      }
    },
  },
  gru: {
    gates: "zrg",
    states: "h",
    step(a, u, h0, c0, h, c, gates, { activation, gate, resetBefore }) {
      const H = h.length;
      for (let j = 0; j < H; j++) {
        const z = gate(a[j] + u[j]);
        const r = gate(a[H + j] + u[H + j]);
        // with the reset gate before the product, u holds (r * h') U_g
        const g = activation(a[2 * H + j] + (resetBefore ? 1 : r) * u[2 * H + j]);
        h[j] = z * h0[j] + (1 - z) * g;
        gates[j] = z;
        gates[H + j] = r;
        gates[2 * H + j] = g;
      }
    },
  },
  rnn: {
    gates: "h",
    states: "h",
    step(a, u, h0, c0, h, c, gates, { activation }) {
      for (let j = 0; j < h.length; j++) gates[j] = h[j] = activation(a[j] + u[j]);
    },
  },
};
