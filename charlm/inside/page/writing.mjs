// The form that writes, and the written text: a click on a character shows what could stand in its
// place, and goes on from there.

import { Panel } from "./panel.mjs";
import { ask, at, say } from "./questions.mjs";
import { View } from "./view.mjs";

export class Writing {
  // data: of the page. shown: called when the written text or its caret has changed.
  constructor(data, chosen, shown) {
    Object.assign(this, { chosen, shown });
    this.earlier = []; // texts, for undo
    this.number = 0;
    this.view = new View(at("written"), new Set(data.vocabulary), () => this.#describe());
    this.panel = new Panel(at("written_here"), "written", data.vocabulary, {
      label: "Go on with another character:",
      chosen: (character, place) => this.#goOn(character, place),
      next: true,
    });
    at("writing").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#write(at("prompt").value, Number(at("length").value));
    });
    at("stop").addEventListener("click", () => ask({ type: "stop" }, () => {}));
    at("undo").addEventListener("click", () => {
      const text = this.earlier.pop();
      this.#read(text, 0);
    });
  }

  get text() {
    return this.view.characters.join("");
  }

  // A character in the text's place continues to the length asked for; one at its end is added.
  #goOn(character, place) {
    const text = this.view.characters.slice(0, place).join("") + character;
    this.#write(text, place < this.view.characters.length ? Number(at("length").value) : 0);
  }

  #write(prompt, length) {
    if (this.text) this.earlier.push(this.text);
    this.#read(prompt, length);
  }

  // Shows a text and what the model writes after it.
  #read(prompt, length) {
    const number = ++this.number; // what an earlier writing still sends is not wanted
    const { view } = this;
    at("undo").disabled = !this.earlier.length;
    say("");
    const value = (id) => Number(at(id).value);
    const options = { temperature: value("temperature"), seed: at("seed").value, topK: value("top_k"), topP: value("top_p") };
    let begun = false;
    ask({ type: "write", ...options, prompt, length }, ({ text, ended }) => {
      if (number !== this.number) return;
      if (!begun) view.setText("");
      begun = true;
      view.append(text);
      at("written").setAttribute("aria-busy", !ended); // a screen reader waits for the end
      if (!ended) return this.colour();
      const end = Math.max(0, view.characters.length - 1);
      if (length === 0) view.caret = end;
      this.colour();
      this.#describe();
    });
  }

  colour() {
    if (!this.view.characters.length) return;
    const asked = { type: "colours", of: "written", ...this.chosen(), position: this.view.caret };
    ask(asked, ({ values }) => this.view.colour(values), () => {});
  }

  #describe() {
    this.panel.show(this.view, this.chosen());
    if (this.chosen().kind === "influence") this.colour();
    this.shown(this.view, "written");
  }
}
