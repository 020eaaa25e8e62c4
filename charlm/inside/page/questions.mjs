// Questions of the page to its worker. WORKER is the worker's script.

const worker = new Worker(URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" })));
const waiting = new Map(); // by the question's number: { answered, failed }
let asked = 0;

// Asks the worker; `answered` is called for each answer.
export function ask(question, answered, failed = (message) => say(`Sorry: ${message}.`)) {
  waiting.set(++asked, { answered, failed });
  worker.postMessage({ ...question, id: asked });
}

worker.onmessage = ({ data: answer }) => {
  const { answered, failed } = waiting.get(answer.id);
  if (answer.type !== "failed") return answered(answer);
  waiting.delete(answer.id);
  failed(answer.message);
};
worker.onerror = ({ message }) => say(`Sorry, the page cannot run its worker: ${message ?? "refused"}.`);

export const at = (id) => document.getElementById(id);

export function say(text) {
  at("status").textContent = text;
}
