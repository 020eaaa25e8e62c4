// The cells, a step at a time. Specification: charlm/reference/lstm.py, gru.py, rnn.py, coupled.py
//
// step(a, u, h0, c0, h, c, gates): a = x W + b and u = h' U + d hold a block of H numbers for each
// gate; h0, c0 are the states before the step, h, c those after it, which it fills, and it fills
// the gates' blocks, too. A cell without c reads and writes h alone.
//
// back(at, dh, dc, da, du): the derivatives of a loss by the states after the step become those by
// the states before it, except the part through h' U, and fill da = dLoss/da and du = dLoss/du.
// at: { u, h0, c0, h, c, gates } of the step.

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const tanh = Math.tanh;

export const ACTIVATIONS = {
  tanh,
  sigmoid,
  relu: (x) => Math.max(0, x),
  linear: (x) => x,
  hard_sigmoid: (x) => Math.min(1, Math.max(0, x / 6 + 0.5)),
};

// The derivative of an activation, from its value y.
export const SLOPES = {
  tanh: (y) => 1 - y * y,
  sigmoid: (y) => y * (1 - y),
  relu: (y) => (y > 0 ? 1 : 0),
  linear: () => 1,
  hard_sigmoid: (y) => (y > 0 && y < 1 ? 1 / 6 : 0),
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
    back({ c0, c, gates }, dh, dc, da, du, { activation, slope, gateSlope }) {
      const H = dh.length;
      for (let j = 0; j < H; j++) {
        const [i, f, g, o] = [gates[j], gates[H + j], gates[2 * H + j], gates[3 * H + j]];
        const s = activation(c[j]);
        const d = dc[j] + dh[j] * o * slope(s);
        da[j] = d * g * gateSlope(i);
        da[H + j] = d * c0[j] * gateSlope(f);
        da[2 * H + j] = d * i * slope(g);
        da[3 * H + j] = dh[j] * s * gateSlope(o);
        dc[j] = d * f;
        dh[j] = 0;
      }
      du.set(da);
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
    back({ c0, c, gates }, dh, dc, da, du, { activation, slope, gateSlope }) {
      const H = dh.length;
      for (let j = 0; j < H; j++) {
        const [f, g, o] = [gates[j], gates[H + j], gates[2 * H + j]];
        const s = activation(c[j]);
        const d = dc[j] + dh[j] * o * slope(s);
        da[j] = d * (c0[j] - g) * gateSlope(f);
        da[H + j] = d * (1 - f) * slope(g);
        da[2 * H + j] = dh[j] * s * gateSlope(o);
        dc[j] = d * f;
        dh[j] = 0;
      }
      du.set(da);
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
    // through: with the reset gate before the product, dg -> dg U_g', the derivative by r * h'
    back({ u, h0, gates }, dh, dc, da, du, { slope, gateSlope, resetBefore }, through) {
      const H = dh.length;
      for (let j = 0; j < H; j++)
        da[2 * H + j] = dh[j] * (1 - gates[j]) * slope(gates[2 * H + j]);
      const d = resetBefore ? through(da.subarray(2 * H)) : null;
      for (let j = 0; j < H; j++) {
        const [z, r, g] = [gates[j], gates[H + j], gates[2 * H + j]];
        const dr = resetBefore ? d[j] * h0[j] : da[2 * H + j] * u[2 * H + j];
        du[j] = da[j] = dh[j] * (h0[j] - g) * gateSlope(z);
        du[H + j] = da[H + j] = dr * gateSlope(r);
        du[2 * H + j] = resetBefore ? 0 : da[2 * H + j] * r;
        dh[j] = dh[j] * z + (resetBefore ? d[j] * r : 0);
      }
    },
  },
  rnn: {
    gates: "h",
    states: "h",
    step(a, u, h0, c0, h, c, gates, { activation }) {
      for (let j = 0; j < h.length; j++) gates[j] = h[j] = activation(a[j] + u[j]);
    },
    back({ h }, dh, dc, da, du, { slope }) {
      for (let j = 0; j < h.length; j++) {
        du[j] = da[j] = dh[j] * slope(h[j]);
        dh[j] = 0;
      }
    },
  },
};
