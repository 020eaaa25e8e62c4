// Reads the weights of a page. Specification: charlm/inside/weights.py

import { Network } from "./network.mjs";

// Returns a number of 16 bits (IEEE 754 binary16) as a float.
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

// Returns an array of the page as float32. about: { type, shape, offset, scales, axis }.
export function unpack(about, buffer) {
  const size = about.shape.reduce((a, b) => a * b, 1);
  if (about.type === "fp32") return new Float32Array(buffer.slice(about.offset, about.offset + 4 * size));
  if (about.type === "fp16")
    return Float32Array.from(new Uint16Array(buffer.slice(about.offset, about.offset + 2 * size)), half);
  const [rows, columns] = about.shape; // int8, with a scale for each row (axis 0) or column
  const count = about.axis === 0 ? rows : columns;
  const whole = new Int8Array(buffer, about.offset, size);
  const scales = new Float32Array(buffer.slice(about.scales, about.scales + 4 * count));
  const found = new Float32Array(size);
  for (let i = 0, at = 0; i < rows; i++)
    for (let j = 0; j < columns; j++, at++) found[at] = whole[at] * scales[about.axis === 0 ? i : j];
  return found;
}

// Returns the network of a page's description and its bytes. product: product.wasm or null.
// context: its number from 0, or null for the mean of all.
export function networkOf({ config, arrays }, buffer, product, context = null) {
  const read = (name) => unpack(arrays[name], buffer);
  const layers = Array.from({ length: config.layers }, (_, k) => ({
    W: read(`${k}/W`),
    U: read(`${k}/U`),
    b: read(`${k}/b`),
  }));
  if (context !== null) {
    const [, n] = arrays.contexts.shape;
    const added = read("contexts").subarray(context * n, (context + 1) * n);
    added.forEach((x, j) => (layers[0].b[j] += x)); // the bias of the inputs comes first
  }
  return new Network(config, layers, { kernel: read("dense/W"), bias: read("dense/b") }, product);
}
