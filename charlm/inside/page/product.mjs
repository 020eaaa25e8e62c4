// Products of a vector and a matrix: y = y + x W, in WebAssembly or, without it, in JavaScript.

const COLUMNS = 32; // of a panel: see product.wat

export function roundedUp(n) {
  return Math.ceil(n / COLUMNS) * COLUMNS;
}

// The numbers of an engine: vectors and matrices in one memory, which WebAssembly can read.
export class Memory {
  // bytes: product.wasm, or null for plain JavaScript; size: of all vectors and matrices, in numbers
  constructor(bytes, size) {
    this.used = 0;
    if (bytes === null) {
      this.buffer = new ArrayBuffer(4 * size);
      this.machine = null;
      return;
    }
    const memory = new WebAssembly.Memory({ initial: Math.ceil((4 * size) / 65536) + 1 });
    this.buffer = memory.buffer;
    const module = new WebAssembly.Module(bytes);
    this.machine = new WebAssembly.Instance(module, { engine: { memory } }).exports.product;
  }

  // Returns n zeros, padded to whole panels.
  vector(n) {
    const found = new Float32Array(this.buffer, 4 * this.used, roundedUp(n));
    this.used += roundedUp(n);
    return found;
  }

  // Returns a matrix, given as its rows one after the other, packed in panels.
  pack(W, rows, columns) {
    const panels = roundedUp(columns) / COLUMNS;
    const packed = this.vector(rows * panels * COLUMNS);
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++)
        packed[(Math.floor(j / COLUMNS) * rows + i) * COLUMNS + (j % COLUMNS)] = W[i * columns + j];
    return { packed, rows, panels };
  }

  // Adds x W to y. x and y are vectors of this memory, W is from `pack`.
  multiply(x, W, y) {
    if (this.machine) {
      this.machine(x.byteOffset, W.packed.byteOffset, y.byteOffset, W.rows, W.panels);
      return;
    }
    for (let p = 0, w = 0; p < W.panels; p++)
      for (let i = 0; i < W.rows; i++, w += COLUMNS)
        for (let k = 0; k < COLUMNS; k++) y[p * COLUMNS + k] += x[i] * W.packed[w + k];
  }

  // Adds y W' to x, in JavaScript: only derivatives need it.
  multiplyTransposed(y, W, x) {
    for (let p = 0, w = 0; p < W.panels; p++)
      for (let i = 0; i < W.rows; i++, w += COLUMNS) {
        let sum = 0;
        for (let k = 0; k < COLUMNS; k++) sum += y[p * COLUMNS + k] * W.packed[w + k];
        x[i] += sum;
      }
  }
}
