// A slider over training: what chosen cells did at the beginning of the passage, and how surprising
// its characters were, after some updates of the weights. The last place is the model of the page.

import { element } from "./questions.mjs";
import { unpacked } from "./unpack.mjs";

export class Snapshots {
  // training: { length, snapshots: [[updates, epochs, bits]], cells: [[layer, cell]], values }, where
  // the packed values have a byte for each snapshot, cell (the surprise after the last), character.
  // letter: the state that was recorded. epochs: that the page's model was trained. moved: called when
  // the slider is moved.
  constructor(training, letter, epochs, moved) {
    Object.assign(this, { ...training, letter, epochs });
    this.slider = element("snapshot");
    this.slider.max = this.slider.value = this.snapshots.length;
    element("training").hidden = false;
    this.slider.addEventListener("input", () => {
      this.show();
      moved();
    });
    this.bytes = unpacked(training.values).then((buffer) => new Int8Array(buffer));
  }

  get isNow() {
    return Number(this.slider.value) === this.snapshots.length;
  }

  toNow() {
    this.slider.value = this.snapshots.length;
    this.show();
  }

  // Says where the slider is.
  show() {
    element("when").textContent = this.isNow ? `the trained model (epoch ${this.epochs})` : this.#inWords();
  }

  #inWords() {
    const [updates, epochs, bits] = this.snapshots[this.slider.value];
    return `after ${updates.toLocaleString("en")} updates (epoch ${Number(epochs.toPrecision(3))}): ` +
      `${bits.toFixed(2)} bits per character in the first ${this.length.toLocaleString("en")} characters`;
  }

  // Resolves to values between -1 and 1 for the recorded characters; null for what is not recorded.
  async colours({ kind, layer, cell }) {
    const place = Number(this.slider.value);
    const [rows, N] = [this.cells.length + 1, this.length];
    const found = this.cells.findIndex(([l, c]) => l === layer && c === cell);
    const row = kind === "surprise" ? rows - 1 : kind === this.letter ? found : -1;
    if (row < 0) return null;
    const first = (place * rows + row) * N;
    return Float32Array.from((await this.bytes).subarray(first, first + N), (x) => x / 127);
  }
}
