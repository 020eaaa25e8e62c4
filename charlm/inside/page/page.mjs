// The page: shows a text coloured by a cell, what is at a character, and writes.
// WORKER is the script of its worker; the data stands in the document as JSON.

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const characters = Array.from(data.text);
const known = new Set(data.vocabulary);

// ---- questions to the worker

const worker = new Worker(URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" })));
const waiting = new Map(); // by the question's number
let asked = 0;

function ask(question, answered, transfer = []) {
  waiting.set(++asked, answered);
  worker.postMessage({ ...question, id: asked }, transfer);
}

worker.onmessage = ({ data: answer }) => {
  if (answer.type === "failed") say(`Sorry, ${answer.message}.`);
  else waiting.get(answer.id)(answer);
};

function say(text) {
  at("status").textContent = text;
}

async function unpacked(letters) {
  const bytes = Uint8Array.from(atob(letters), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

// ---- the passage

const text = at("text");
text.textContent = data.text;
const node = text.firstChild;
const starts = []; // where each character begins in the document's text, which counts UTF-16
for (let k = 0, place = 0; k < characters.length; place += characters[k++].length) starts.push(place);
let boxes = null; // of the characters, in the passage
let shown = null; // { bytes, bits } of the chosen cell
let caret = Math.min(data.caret, characters.length - 1);

function measure() {
  const origin = text.getBoundingClientRect();
  const range = document.createRange();
  boxes = starts.map((start, k) => {
    range.setStart(node, start);
    range.setEnd(node, start + characters[k].length);
    return Array.from(range.getClientRects(), (r) => [r.left - origin.left, r.top - origin.top, r.width, r.height]);
  });
}

function colour(value) {
  const name = value > 0 ? "--high" : "--low";
  const rgb = getComputedStyle(document.documentElement).getPropertyValue(name);
  return `rgba(${rgb}, ${(0.55 * Math.min(1, Math.abs(value))).toFixed(3)})`;
}

function paint() {
  if (boxes === null) measure();
  const canvas = at("colours");
  const scale = window.devicePixelRatio || 1;
  canvas.width = text.offsetWidth * scale;
  canvas.height = text.offsetHeight * scale;
  canvas.style.width = `${text.offsetWidth}px`;
  canvas.style.height = `${text.offsetHeight}px`;
  const context = canvas.getContext("2d", { willReadFrequently: true }); // thousands of small boxes
  context.scale(scale, scale);
  const colours = Array.from({ length: 255 }, (_, k) => colour((k - 127) / 127));
  boxes.forEach((ofCharacter, k) => {
    if (!known.has(characters[k])) context.fillStyle = "rgba(128, 128, 128, 0.6)";
    else if (shown) context.fillStyle = colours[shown.bytes[k] + 127];
    else return;
    for (const box of ofCharacter) context.fillRect(...box);
  });
  const [x, y, w, h] = boxes[caret]?.[0] ?? [0, 0, 0, 0];
  context.strokeStyle = getComputedStyle(document.body).color;
  context.lineWidth = 2;
  context.strokeRect(x, y, w, h);
}

function chosen() {
  return { letter: at("letter").value, layer: Number(at("layer").value), cell: Number(at("cell").value) };
}

let chosenLast = 0;

function show() {
  const wanted = chosen();
  const number = ++chosenLast;
  ask({ type: "cell", ...wanted }, (answer) => {
    if (number !== chosenLast) return;
    shown = answer;
    paint();
    describe();
  });
  for (const chip of at("chips").children)
    chip.setAttribute("aria-pressed", chip.dataset.cell === `${wanted.layer} ${wanted.cell}` && chip.dataset.letter === wanted.letter);
  location.replace(`#${wanted.letter}-${wanted.layer}-${wanted.cell}-${caret}`);
}

let described = 0;
const visible = (c) => ({ "\n": "newline", " ": "blank", "\t": "tab" })[c] ?? c;

// Shows what is at the caret: the exact values, the surprise, the likeliest next characters.
function describe() {
  const number = ++described; // an answer about an earlier character may come late
  const { layer, cell } = chosen();
  const here = characters[caret];
  at("here").textContent = `Character ${caret + 1} of ${characters.length}: ${visible(here)}`;
  if (!known.has(here)) {
    at("values").replaceChildren();
    at("next").textContent = "The model does not know this character, so it was not read.";
    return;
  }
  ask({ type: "exact", position: caret, layer, cell }, ({ values, bits, next }) => {
    if (number !== described) return;
    const rows = Object.entries(values).map(([letter, value]) => row(`${letter} of cell ${cell}`, value.toFixed(4)));
    rows.push(row("surprise", Number.isNaN(bits) ? "not measured" : `${bits.toFixed(2)} bits`));
    at("values").replaceChildren(...rows);
    const order = Array.from(next.keys()).sort((a, b) => next[b] - next[a]).slice(0, 5);
    const likely = order.map((k) => `${visible(data.vocabulary[k])} ${(100 * next[k]).toFixed(0)} %`);
    at("next").textContent = `Likeliest next: ${likely.join(", ")}`;
  });
}

function row(name, value) {
  const found = document.createElement("tr");
  for (const [kind, content] of [["th", name], ["td", value]]) {
    const part = document.createElement(kind);
    part.textContent = content;
    found.append(part);
  }
  return found;
}

function moveTo(place) {
  caret = Math.max(0, Math.min(characters.length - 1, place));
  paint();
  describe();
  const [, y] = boxes[caret]?.[0] ?? [0, 0];
  const passage = at("passage");
  if (y < passage.scrollTop || y > passage.scrollTop + passage.clientHeight - 30) passage.scrollTop = y - 40;
}

at("passage").addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -60, ArrowDown: 60, Home: -1e9, End: 1e9 }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  moveTo(caret + by);
});

at("passage").addEventListener("click", ({ clientX, clientY }) => {
  const origin = text.getBoundingClientRect();
  const [x, y] = [clientX - origin.left, clientY - origin.top];
  const inside = ([left, top, w, h]) => x >= left && x < left + w && y >= top && y < top + h;
  const found = boxes.findIndex((some) => some.some(inside));
  if (found >= 0) moveTo(found);
});

new ResizeObserver(() => {
  boxes = null;
  paint();
}).observe(text);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

// ---- controls

for (const finding of data.findings) {
  const chip = document.createElement("button");
  chip.type = "button";
  chip.textContent = `${finding.property} (${finding.auc.toFixed(2)})`;
  chip.dataset.cell = `${finding.layer} ${finding.cell}`;
  chip.dataset.letter = data.letter;
  chip.addEventListener("click", () => {
    at("letter").value = data.letter;
    at("layer").value = finding.layer;
    at("cell").value = finding.cell;
    show();
  });
  at("chips").append(chip);
}

function start({ letters }) {
  for (const letter of letters) at("letter").append(new Option(letter, letter));
  const place = decodeURIComponent(location.hash).match(/^#([a-z])-(\d+)-(\d+)-(\d+)$/);
  const [letter, layer, cell] = place ? place.slice(1) : [data.letter, data.layer, data.cell];
  if (place) caret = Math.min(Number(place[4]), characters.length - 1);
  at("letter").value = letters.includes(letter) ? letter : letters[0];
  at("layer").value = Math.min(layer, data.config.layers - 1);
  at("cell").value = Math.min(cell, data.config.units - 1);
  ask({ type: "read", text: data.text }, ({ done, all }) => {
    say(done < all ? `Reading the text: ${Math.round((100 * done) / all)} %` : "");
    if (done === all) show();
  });
}

at("layer").max = data.config.layers - 1;
at("cell").max = data.config.units - 1;
for (const id of ["letter", "layer", "cell"]) at(id).addEventListener("change", show);
paint();

// ---- writing

at("writing").addEventListener("submit", (event) => {
  event.preventDefault();
  at("written").textContent = at("prompt").value;
  const number = (id) => Number(at(id).value);
  const options = { temperature: number("temperature"), seed: at("seed").value || "0" };
  options.topK = number("top_k");
  options.topP = number("top_p");
  ask({ type: "write", prompt: at("prompt").value, length: number("length"), ...options }, (answer) => {
    at("written").append(answer.text);
  });
});
at("stop").addEventListener("click", () => ask({ type: "stop" }, () => {}));

unpacked(data.weights).then(async (buffer) => {
  const product = data.product && new Uint8Array(await unpacked(data.product));
  const page = { config: data.config, arrays: data.arrays, vocabulary: data.vocabulary };
  ask({ type: "open", page, buffer, product }, start, [buffer]);
});
