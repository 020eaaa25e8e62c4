// The part of a view that can be seen, as SVG or PNG.

import { say } from "./questions.mjs";

const escaped = (text) =>
  text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`).replace(/[\0-\x08\x0b-\x1f\ufffe\uffff]|\p{Cs}/gu, "\ufffd");

// Returns the runs of characters that can be seen: { text, x, y }, y in the middle of the line. A new
// one begins at a tab and wherever characters are not side by side from left to right.
function runs(view) {
  const found = [];
  const [first, end] = view.visible();
  for (let k = first; k < end; k++) {
    const [box] = view.boxes(k);
    if (!box || view.characters[k] === "\n") continue;
    const [x, top, width, height] = box;
    const y = top + height / 2;
    const last = found.at(-1);
    const follows = last && Math.abs(last.y - y) < height / 2 && Math.abs(last.end - x) < 1;
    if (follows && view.characters[k] !== "\t") last.text += view.characters[k];
    else found.push({ text: view.characters[k].replace("\t", ""), x, y });
    found.at(-1).end = x + width;
  }
  return found;
}

function pageStyle(view) {
  const { clientWidth: width, clientHeight: height, scrollTop: from } = view.passage;
  const { font } = getComputedStyle(view.pre);
  const { color: ink, backgroundColor: paper } = getComputedStyle(document.body);
  return { width, height, from, font, ink, paper };
}

export function toSvg(view) {
  const { width, height, from, font, ink, paper } = pageStyle(view);
  const number = (x) => x.toFixed(1);
  const rectangles = view.coloured().flatMap(({ colour, boxes }) =>
    boxes.map(([x, y, w, h]) =>
      `<rect x="${number(x)}" y="${number(y)}" width="${number(w)}" height="${number(h)}" fill="${colour}"/>`),
  );
  const texts = runs(view).map(({ text, x, y }) =>
    `<text x="${number(x)}" y="${number(y)}" xml:space="preserve">${escaped(text)}</text>`);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 ${from} ${width} ${height}">`,
    `<rect x="0" y="${from}" width="${width}" height="${height}" fill="${paper}"/>`,
    ...rectangles,
    `<g style="font: ${escaped(font)}" fill="${ink}" dominant-baseline="central">`,
    ...texts,
    "</g></svg>",
  ].join("\n");
}

export function toPng(view) {
  const { width, height, from, font, ink, paper } = pageStyle(view);
  const scale = 2; // for print
  const canvas = document.createElement("canvas");
  canvas.width = scale * width;
  canvas.height = scale * height;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.fillStyle = paper;
  context.fillRect(0, 0, width, height);
  context.translate(0, -from);
  for (const { colour, boxes } of view.coloured()) {
    context.fillStyle = colour;
    for (const box of boxes) context.fillRect(...box);
  }
  Object.assign(context, { font, fillStyle: ink, textBaseline: "middle" });
  for (const { text, x, y } of runs(view)) context.fillText(text, x, y);
  return new Promise((made) => canvas.toBlob(made, "image/png"));
}

// Copies a picture to the clipboard, or saves it where the browser does not allow that.
export async function copy(view, kind) {
  const svg = () => Promise.resolve(new Blob([toSvg(view)], { type: "image/svg+xml" }));
  const made = kind === "png" ? toPng(view) : svg();
  try {
    // at once, not after the picture is made: a browser lets a page copy only during a click
    if (kind === "png") await navigator.clipboard.write([new ClipboardItem({ "image/png": made })]);
    else await navigator.clipboard.writeText(toSvg(view));
    say(`Copied as ${kind.toUpperCase()}.`);
  } catch {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await made);
    link.download = `cells.${kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // once it is saved
    say(`Saved as cells.${kind}: the browser does not let this page copy.`);
  }
}
