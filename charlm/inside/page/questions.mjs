// Questions of the page to its worker. WORKER is the worker's script.

const worker = new Worker(URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" })));
const waiting = new Map(); // by the question's number: { answered, failed }
const open = new Set(); // purposes that have a question which was not answered yet
const next = new Map(); // by purpose: the latest question that waits for that answer
let asked = 0;

export const element = (id) => document.getElementById(id);

export function say(text) {
  element("status").textContent = text;
}

const report = ({ message }) => say(`Sorry: ${message}.`);

// Asks the worker; `answered` is called for each answer, `failed` with { message, early } for a
// refusal; early: the text was not read so far.
export function ask(question, answered, failed = report) {
  waiting.set(++asked, { answered, failed });
  worker.postMessage({ ...question, id: asked });
}

// Asks about what the reader looks at. Of several questions for the same purpose that come faster
// than the answers, only the latest is asked. What was not read so far is not reported: the page
// asks again once all is read.
export function askLatest(purpose, question, answered) {
  if (open.has(purpose)) return next.set(purpose, [question, answered]);
  open.add(purpose);
  const done = () => {
    open.delete(purpose);
    const latest = next.get(purpose);
    next.delete(purpose);
    if (latest) askLatest(purpose, ...latest);
  };
  const shown = (answer) => {
    if (!next.has(purpose)) answered(answer);
    done();
  };
  const failed = (refusal) => {
    if (!refusal.early) report(refusal);
    done();
  };
  ask(question, shown, failed);
}

worker.onmessage = ({ data: answer }) => {
  const { answered, failed } = waiting.get(answer.id);
  if (!answer.more) waiting.delete(answer.id);
  if (answer.type === "failed") failed(answer);
  else answered(answer);
};
worker.onerror = ({ message }) => say(`Sorry, the page cannot run its worker: ${message ?? "refused"}.`);
