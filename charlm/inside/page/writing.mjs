// The form that writes, and the written text: click a character to see what else could stand there,
// and choose one to continue from it.

import { Panel } from "./panel.mjs";
import { ask, askLatest, element, say } from "./questions.mjs";
import { View } from "./view.mjs";

export class Writing {
  // data: of the page. shown: called when the written text or its caret has changed.
  constructor(data, chosen, shown) {
    Object.assign(this, { chosen, shown });
    this.bare = false; // whether the text was written without a prompt
    this.earlier = []; // { text, bare }, for undo
    this.current = null; // the question that fills the view
    this.view = new View(element("written"), new Set(data.vocabulary), () => this.#describe());
    this.panel = new Panel(element("written_here"), "written", data.vocabulary, {
      label: "Continue with another character:",
      chosen: (character, place) => this.#continue(character, place),
      next: true,
    });
    element("write").addEventListener("click", () => this.#start());
    // the form is never submitted: the frame of a notebook does not let it
    element("writing").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
      event.preventDefault();
      this.#start();
    });
    element("stop").addEventListener("click", () => ask({ type: "stop", kind: "write" }, () => {}));
    element("undo").addEventListener("click", () => {
      const { text, bare } = this.earlier.at(-1);
      this.#write({ prompt: text, typed: false, bare, length: 0 }, 0, true);
    });
  }

  get text() {
    return this.view.characters.join("");
  }

  #start() {
    if (!element("writing").reportValidity()) return;
    const prompt = element("prompt").value;
    this.#write({ prompt, typed: true, bare: !prompt, length: this.#length() }, 0);
  }

  #length() {
    return Number(element("length").value);
  }

  // A character in the text's place continues to the length asked for; one at its end is added.
  #continue(character, place) {
    if (!element("writing").reportValidity()) return;
    const length = place < this.view.characters.length ? this.#length() : 0;
    const prompt = this.view.characters.slice(0, place).join("") + character;
    this.#write({ prompt, typed: false, bare: this.bare, length }, place);
  }

  // Shows a text and what the model writes after it. caret: its place then. undo: go back to the
  // text before the present one, instead of keeping that.
  #write(asked, caret, undo = false) {
    say("");
    const value = (id) => Number(element(id).value);
    const [temperature, topK, topP] = ["temperature", "top_k", "top_p"].map(value);
    const question = { type: "write", temperature, topK, topP, seed: element("seed").value, ...asked };
    ask(question, ({ text, ended }) => {
      const first = !question.begun;
      if (first) this.#begin(question, undo);
      if (this.current !== question) return; // another text was asked for since
      const follow = first || this.view.showsEnd;
      this.view.append(text);
      if (follow) this.view.passage.scrollTop = this.view.passage.scrollHeight;
      element("written").setAttribute("aria-busy", !ended); // a screen reader waits for the end
      if (!ended) return this.colour();
      this.colour();
      this.view.moveTo(caret);
    });
  }

  // Not before the first answer: the present text stays if the question is refused.
  #begin(question, undo) {
    question.begun = true;
    if (undo) this.earlier.pop();
    else if (this.text) this.earlier.push({ text: this.text, bare: this.bare });
    element("undo").disabled = !this.earlier.length;
    this.current = question;
    this.bare = question.bare;
    this.view.setText("");
  }

  colour() {
    if (!this.view.characters.length) return;
    const question = { type: "colours", of: "written", ...this.chosen(), position: this.view.caret };
    askLatest("colours of written", question, ({ values }) => this.view.colour(values));
  }

  show() {
    this.colour();
    if (this.text) this.panel.show(this.view, this.chosen());
  }

  #describe() {
    this.panel.show(this.view, this.chosen());
    if (this.chosen().kind === "influence") this.colour();
    this.shown(this.view, "written");
  }
}
