// Draws a tune as a score: SVG of staves with clef, key, metre, notes, beams and bar lines.
// Lengths are in spaces between two staff lines; a step is half of one.

const SPACE = 8; // pixels
const TOP = 5; // spaces above the first line of a staff
const SYSTEM = 14; // spaces from one staff to the next
const CURVE = 7.5; // spaces from the staff's first line to the middle of the curve below it
const STEM = 3.3;
const WIDEST = 1.6; // a system is stretched by this at most
const LEFT = 1; // margin
const NEAR = 1e-6;
const SHARP_STEPS = { F: 10, C: 7, G: 11, D: 8, A: 5, E: 9, B: 6 };
const FLAT_STEPS = { B: 6, E: 9, A: 5, D: 8, G: 4, C: 7, F: 3 };
const CLEF = // around the line of G
  "M.1 .5C-.6 .45-.7-.6 .1-.75C1-.9 1.4 .45 .65 .85C-.4 1.4-1.55 .7-1.45-.5C-1.3-1.9 .8-2.5 .7-4" +
  "C.65-4.9 .15-4.9-.1-4.3C-.4-3.6-.2-2.9-.1-2.2L.5 1.9C.65 2.8-.5 3-.75 2.3";
const REST = "M-.3-1.4L.4-.5C-.2 0-.1 .2 .5 .9C-.1 .6-.5 .9 .1 1.5C-.8 1.1-.7 .3-.1 .4L-.5-.3C0-.7-.1-1-.3-1.4Z";
const FLATS = "M0-1.9V.7C.9 .1 1-.5 .6-.6C.3-.65 .1-.5 0-.2";

let drawing = null; // the element that is drawn into

function draw(kind, attributes, into = drawing) {
  const found = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  return into.appendChild(found);
}
const line = (x, y, x2, y2, width = 0.12) => draw("line", { x1: x, y1: y, x2, y2, "stroke-width": width });
const path = (d, x, y, more = {}) => draw("path", { d, transform: `translate(${x} ${y})`, ...more });
const outline = { fill: "none", "stroke-width": 0.2, "stroke-linecap": "round" };
function write(text, x, y, size, more = {}) {
  draw("text", { x, y, "font-size": size, stroke: "none", ...more }).textContent = text;
}
const yOf = (step) => (10 - step) / 2;

// Draws a tune into an SVG element of a width in pixels. Returns where its notes are:
// [{ at, end, x, top, element }], x and top (of their staff) in spaces.
export function drawScore(svg, tune, width) {
  svg.replaceChildren();
  const systems = systemsOf(tune, width / SPACE - 2 * LEFT);
  const height = systems.length * SYSTEM + 1;
  svg.setAttribute("viewBox", `0 0 ${width / SPACE} ${height}`);
  svg.setAttribute("height", height * SPACE);
  const places = [];
  systems.forEach((system, k) => {
    drawing = draw("g", { transform: `translate(${LEFT} ${k * SYSTEM + TOP})` }, svg);
    drawSystem(system, width / SPACE - 2 * LEFT, places, k * SYSTEM + TOP);
  });
  return places;
}

// Draws the values, between -1 and 1, at the notes as a curve below each staff.
export function drawCurve(svg, places, values) {
  svg.querySelector(".curve")?.remove();
  const group = draw("g", { class: "curve" }, svg);
  for (const top of new Set(places.map((place) => place.top))) {
    const last = places.findLast((place) => place.top === top);
    draw("rect", { x: LEFT + 3, y: top + CURVE, width: last.x - 2.4, height: 0.06 }, group);
  }
  places.forEach(({ x, top }, k) => {
    const height = 1.5 * values[k];
    const y = top + CURVE - Math.max(0, height);
    draw("rect", { x: x + LEFT - 0.35, y, width: 0.7, height: Math.abs(height) }, group);
  });
}

// ---- layout

// Divides a tune into systems: { clef: signature, metre, items, width }. Lines of the text are
// kept, and divided at bar lines if they are too long.
function systemsOf(tune, width) {
  const systems = [];
  let [signature, metre, items] = [{}, null, []];
  const end = () => {
    if (items.some(({ type }) => type === "note")) systems.push({ signature, metre: null, items });
    items = [];
  };
  let first = true;
  for (const event of tune.events) {
    if (event.type === "key" && !items.length) signature = event.signature;
    else if (event.type === "metre" && first) metre = event;
    else if (event.type === "line") end();
    else if (event.type === "note") {
      first = false;
      items.push(...partsOf(event));
    } else items.push(event);
  }
  end();
  if (systems.length) systems[0].metre = metre;
  let now = {};
  for (const system of systems) {
    system.signature = Object.keys(system.signature).length ? system.signature : now;
    now = system.items.findLast(({ type }) => type === "key")?.signature ?? system.signature;
  }
  const found = systems.flatMap((system) => divided(system, width));
  found.forEach(({ items }, k) => {
    const last = items.findLast(({ type }) => type !== "space");
    if (last?.type !== "bar" || !last.ending || !found[k + 1]) return;
    found[k + 1].items.unshift({ type: "bar", sign: "", ending: last.ending }); // begins there
    items[items.indexOf(last)] = { ...last, ending: "" };
  });
  return found;
}

function divided(system, width) {
  const found = [{ ...system, items: [] }];
  let [size, bar, barSize] = [headWidth(system), [], 0];
  const put = () => {
    if (size + barSize > width && found.at(-1).items.length) {
      found.push({ ...system, metre: null, items: [] });
      size = headWidth(found.at(-1));
    }
    found.at(-1).items.push(...bar);
    size += barSize;
    [bar, barSize] = [[], 0];
  };
  for (const item of system.items) {
    bar.push(item);
    barSize += widthOf(item);
    if (item.type === "bar") put();
  }
  put();
  return found;
}

// Returns the written notes of a note: a length such as 5/8 needs two, tied.
function partsOf(note) {
  const parts = [];
  let rest = note.shown;
  while (rest > 1 / 256 && parts.length < 4) {
    const value = 2 ** Math.min(0, Math.floor(Math.log2(rest) + NEAR));
    const dots = rest >= value * 1.75 - NEAR ? 2 : rest >= value * 1.5 - NEAR ? 1 : 0;
    rest -= value * [1, 1.5, 1.75][dots];
    const tied = rest > 1 / 256 ? note.heads.map(({ pitch }) => pitch) : note.tied;
    const first = parts.length === 0;
    parts.push({ ...note, value, dots, tied, graces: first ? note.graces : [], first });
  }
  return parts;
}

const headWidth = ({ signature, metre }) => 4 + Object.keys(signature).length + (metre?.length ? 2.5 : 0);

function widthOf(item) {
  if (item.type === "note") {
    const sharps = item.heads.some(({ accidental }) => accidental) ? 1 : 0;
    return 1.6 + 2.6 * Math.sqrt(item.shown * 4) + sharps + item.graces.length * 1.3 + item.dots * 0.5;
  }
  if (item.type === "bar") return item.sign ? 1.2 + 0.5 * item.sign.length : 0;
  if (item.type === "key") return 1 + Object.keys(item.signature).length;
  return item.type === "metre" && item.length ? 2.5 : 0;
}

// ---- drawing

function drawSystem({ signature, metre, items }, width, places, top) {
  const lines = Array.from({ length: 5 }, (_, k) => line(0, k, width, k, 0.08));
  path(CLEF, 1.7, 3, outline);
  draw("circle", { cx: 1.2, cy: 5.3, r: 0.3 });
  let x = drawSignature(signature, 3.4) + 0.4;
  if (metre?.length) x = drawMetre(metre, x);
  const natural = items.reduce((sum, item) => sum + widthOf(item), 0);
  const stretch = (width - x - 0.3) / natural;
  const factor = Math.min(stretch, WIDEST);
  for (const one of lines) one.setAttribute("x2", x + natural * factor + 0.1);
  const beams = [];
  const ends = new Map(); // of ties, by pitch
  let group = [];
  const close = () => {
    if (group.length) beams.push(group);
    group = [];
  };
  let tuplet = [];
  for (const item of items) {
    const next = x + widthOf(item) * factor;
    if (item.type === "note") {
      const place = drawNote(item, next - (0.8 + 1.3 * Math.sqrt(item.shown * 4)) * factor, places, top, ends);
      if (item.value > 1 / 8 || !item.heads.length) close();
      if (item.value <= 1 / 8 && item.heads.length) group.push(place);
      else if (item.heads.length) beams.push([place]);
      if (item.tuplet && item.first) tuplet.push(place);
      if (item.tuplet?.rest === 0 && tuplet.length) {
        const middle = (tuplet[0].x + tuplet.at(-1).x) / 2;
        const high = Math.min(...tuplet.map(({ steps }) => yOf(Math.max(...steps))));
        write(item.tuplet.p, middle, Math.min(-1.2, high - 1.4), 1.6, { "font-style": "italic", "text-anchor": "middle" });
        tuplet = [];
      }
    } else if (item.type === "bar") {
      close();
      drawBar(item, next);
    } else {
      if (item.type === "space" || item.type === "key") close();
      if (item.type === "key") drawSignature(item.signature, x + 0.3);
      if (item.type === "metre" && item.length) drawMetre(item, x + 0.3);
    }
    x = next;
  }
  close();
  beams.forEach(drawBeam);
}

function drawSignature(signature, x) {
  const sharps = Object.keys(signature).filter((letter) => signature[letter] > 0);
  const flats = Object.keys(signature).filter((letter) => signature[letter] < 0);
  for (const letter of sharps) drawAccidental("^", (x += 1) - 0.5, SHARP_STEPS[letter]);
  for (const letter of flats) drawAccidental("_", (x += 0.9) - 0.5, FLAT_STEPS[letter]);
  return x + 0.5;
}

function drawAccidental(sign, x, step) {
  const y = yOf(step);
  if (sign.startsWith("^")) {
    for (const at of [-0.18, 0.18]) line(x + at, y - 1.2 - at, x + at, y + 1.2 - at);
    for (const at of [-0.4, 0.4]) line(x - 0.45, y + at + 0.15, x + 0.45, y + at - 0.15, 0.3);
  } else if (sign.startsWith("_")) path(FLATS, x - 0.3, y, { ...outline, "stroke-width": 0.16 });
  else {
    line(x - 0.28, y - 1.3, x - 0.28, y + 0.6);
    line(x + 0.28, y - 0.6, x + 0.28, y + 1.3);
    for (const at of [-0.45, 0.45]) line(x - 0.28, y + at + 0.12, x + 0.28, y + at - 0.12, 0.25);
  }
  if (sign.length === 2) drawAccidental(sign[0], x - 0.8, step);
}

function drawMetre({ shown, beats, below }, x) {
  const more = { "font-weight": "bold", "text-anchor": "middle", "font-family": "serif" };
  if (shown.startsWith("C")) {
    path("M.7-.5C.4-1.2-.9-1.2-.9 0C-.9 1.2 .4 1.2 .7 .5", x + 1, 2, { ...outline, "stroke-width": 0.3 });
    if (shown === "C|") line(x + 1, 0.4, x + 1, 3.6, 0.15);
  } else {
    write(beats, x + 1, 1.75, 2.5, more);
    write(below, x + 1, 3.75, 2.5, more);
  }
  return x + 2.5;
}

function drawBar({ sign, ending }, x) {
  const ends = /[\][]/.test(sign);
  const repeats = [sign.startsWith(":"), sign.endsWith(":")];
  const isThick = ends || repeats[0] || repeats[1];
  const begins = repeats[1] || sign.startsWith("[");
  if (isThick) line(x - 0.1, 0, x - 0.1, 4, 0.4);
  if (!isThick && sign) line(x, 0, x, 4, 0.15);
  if (sign.includes("||") || repeats[0] || (ends && !begins)) line(x - 0.6, 0, x - 0.6, 4, 0.15);
  if (begins) line(x + 0.4, 0, x + 0.4, 4, 0.15);
  for (const y of [1.5, 2.5]) {
    if (repeats[0]) draw("circle", { cx: x - 1.1, cy: y, r: 0.22 });
    if (repeats[1]) draw("circle", { cx: x + 0.9, cy: y, r: 0.22 });
  }
  if (!ending) return;
  line(x + 0.1, -3.6, x + 4, -3.6);
  line(x + 0.1, -3.6, x + 0.1, -2.2);
  write(`${ending}.`, x + 0.5, -2, 1.5);
}

function drawNote(item, x, places, top, ends) {
  const { value, dots, heads, tied, graces } = item;
  const outer = drawing;
  drawing = draw("g", { class: "note" });
  if (item.first) places.push({ at: item.at, end: item.end, x, top, element: drawing });
  const steps = heads.map(({ step }) => step);
  graces.forEach(({ step }, k) => drawGrace(x - 1.1 * (graces.length - k) - 0.5, step));
  if (!heads.length) drawRest(value, x);
  for (const { step, pitch, accidental } of heads) {
    const y = yOf(step);
    for (let at = 0; at >= step; at -= 2) line(x - 1, yOf(at), x + 1, yOf(at), 0.1);
    for (let at = 12; at <= step; at += 2) line(x - 1, yOf(at), x + 1, yOf(at), 0.1);
    const open = value >= 1 / 2;
    draw("ellipse", {
      cx: x, cy: y, rx: 0.62, ry: 0.43, transform: `rotate(-20 ${x} ${y})`, "stroke-width": 0.2, ...(open && { fill: "none" }),
    });
    if (accidental && item.first) drawAccidental(accidental, x - 1.3, step);
    const before = ends.get(pitch);
    if (before !== undefined) {
      const bend = step >= 6 ? -1 : 1;
      const from = Math.max(before, x - 14) + 0.5;
      path(`M${from} ${y + bend * 0.8}Q${(from + x) / 2} ${y + bend * 1.9} ${x - 0.5} ${y + bend * 0.8}`, 0, 0, { ...outline, "stroke-width": 0.15 });
    }
  }
  for (let k = 0; k < dots; k++)
    for (const step of heads.length ? steps : [7]) draw("circle", { cx: x + 1.1 + 0.5 * k, cy: yOf(step | 1), r: 0.2 });
  ends.clear();
  for (const pitch of tied) ends.set(pitch, x);
  const found = { x, steps, value, group: drawing };
  drawing = outer;
  return found;
}

function drawGrace(x, step) {
  const y = yOf(step);
  draw("ellipse", { cx: x, cy: y, rx: 0.4, ry: 0.28, transform: `rotate(-20 ${x} ${y})`, "stroke-width": 0 });
  line(x + 0.35, y, x + 0.35, y - 2, 0.1);
  line(x - 0.1, y - 0.8, x + 0.8, y - 1.6, 0.1);
}

function drawRest(value, x) {
  if (value >= 1 / 2) draw("rect", { x: x - 0.6, y: value >= 1 ? 1 : 1.5, width: 1.2, height: 0.5 });
  else if (value >= 1 / 4) path(REST, x, 2, { "stroke-width": 0.05 });
  else {
    const count = Math.round(-Math.log2(value)) - 2;
    line(x + 0.5, 1.2, x - 0.1, 2.6 + 0.7 * (count - 1), 0.15);
    for (let k = 0; k < count; k++) {
      draw("circle", { cx: x - 0.4, cy: 1.5 + 0.8 * k, r: 0.25 });
      line(x - 0.4, 1.7 + 0.8 * k, x + 0.4 - 0.2 * k, 1.4 + 0.8 * k);
    }
  }
}

// Draws the stems of notes that belong together, and their beams or flags.
function drawBeam(notes) {
  if (notes[0].value >= 1) return;
  const steps = notes.flatMap((note) => note.steps);
  const up = steps.reduce((a, b) => a + b, 0) / steps.length < 6;
  const side = up ? 0.55 : -0.55;
  const far = (note) => yOf(up ? Math.max(...note.steps) : Math.min(...note.steps)); // the head nearest the beam
  const near = (note) => yOf(up ? Math.min(...note.steps) : Math.max(...note.steps));
  const [first, last] = [notes[0], notes.at(-1)];
  const slope = notes.length > 1 ? Math.max(-0.15, Math.min(0.15, (far(last) - far(first)) / (last.x - first.x))) : 0;
  const height = (note) => far(first) + slope * (note.x - first.x);
  const shift = Math[up ? "min" : "max"](...notes.map((note) => far(note) - height(note)));
  const end = (note) => height(note) + shift + (up ? -STEM : STEM);
  const outer = drawing;
  for (const note of notes) {
    drawing = note.group;
    line(note.x + side, near(note), note.x + side, end(note), 0.14);
  }
  drawing = outer;
  const flags = notes.map(({ value }) => Math.max(0, Math.round(-Math.log2(value)) - 2));
  const beam = (from, to, level) => {
    const y = (x) => height({ x }) + shift + (up ? -STEM : STEM) + (up ? 0.75 : -0.75) * level;
    const thick = up ? 0.5 : -0.5;
    const [a, b] = [from + side, to + side];
    draw("path", { d: `M${a} ${y(from)}L${b} ${y(to)}V${y(to) + thick}L${a} ${y(from) + thick}Z`, "stroke-width": 0 });
  };
  if (notes.length === 1) {
    drawing = first.group;
    const turn = up ? 1 : -1;
    for (let k = 0; k < flags[0]; k++) {
      const y = end(first) + turn * 0.8 * k;
      path(`M0 0C0 ${turn * 0.9} 1.2 ${turn * 1.2} .7 ${turn * 2.3}`, first.x + side, y, outline);
    }
    drawing = outer;
    return;
  }
  for (let level = 0; level < Math.max(...flags); level++)
    notes.forEach((note, k) => {
      if (flags[k] <= level) return;
      if (flags[k + 1] > level) beam(note.x, notes[k + 1].x, level);
      else if (!(flags[k - 1] > level)) beam(note.x, note.x + (k ? -0.8 : 0.8), level);
    });
}
