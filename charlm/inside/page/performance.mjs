// The order in which a tune's bars sound, and whether they have the length of the metre.
// Specification: charlm/music/performance.py and bars.py, which a test compares with this.

import { turnsOf } from "./abc.mjs";

const GRACE = 1 / 32; // of a whole note, at most half of the note that it takes its time from
const MOST = 100000; // bars as they are played
const NEARLY = 1e-6; // parts of a whole note that rounding may change
const same = (a, b) => Math.abs(a - b) < NEARLY;
const divides = (signs) => signs.some((sign) => /[:\][]/.test(sign) || sign.includes("||"));
const closes = (signs) => signs.some((sign) => sign.startsWith(":"));
const opens = (sign) => sign.endsWith(":");

// Returns the bars of a tune that have notes: { notes, length, whole, before, after, ending,
// nextEnding, beginsPart, endsPart }.
export function measuresOf(tune) {
  const found = [];
  let [current, whole, ending, signs] = [null, null, "", []];
  for (const event of tune.events) {
    if (event.type === "metre") whole = event.length;
    else if (event.type === "bar") {
      if (current) {
        found.push(current);
        [current, signs, ending] = [null, [], ""];
      }
      signs = [...signs, event.sign];
      ending = event.ending || ending;
      if (found.length) Object.assign(found.at(-1), { after: signs, nextEnding: ending });
    } else if (event.type === "note") {
      current ??= { notes: [], length: 0, whole, before: signs, after: [], ending, nextEnding: "" };
      current.length += event.length;
      current.notes.push(event);
    }
  }
  if (current) found.push(current);
  for (const bar of found) {
    bar.beginsPart = !bar.before.length || divides(bar.before) || bar.ending !== "";
    bar.endsPart = !bar.after.length || divides(bar.after) || bar.nextEnding !== "";
  }
  return found;
}

// Returns whether a tune is right: bars, repeats and ties, and a bar line at its end.
export function isRight(tune) {
  const sounding = tune.events.filter(({ type }) => type === "note" || type === "bar");
  if (sounding.at(-1)?.type !== "bar") return false;
  return barsAreEven(measuresOf(tune)) && repeatsClose(sounding) && endingsFollow(sounding) && tiesJoin(sounding);
}

function barsAreEven(bars) {
  let [upbeat, split, inside] = [0, 0, false];
  return bars.length > 0 && bars.every((bar, k) => {
    const next = bars[k + 1];
    const lacking = bar.whole === null ? 0 : bar.whole - bar.length;
    const isLast = !next || bar.endsPart;
    const ends = isLast && (same(lacking, upbeat) || (next && same(lacking, next.length)));
    const goesOn = bar.ending && same(bar.length, split);
    const begins = bar.beginsPart && !isLast && !bar.ending;
    const right = same(lacking, 0) || (lacking > 0 && (ends || goesOn || begins));
    if (bar.beginsPart && !bar.ending) [upbeat, split] = [same(lacking, 0) ? 0 : bar.length, 0];
    inside = bar.ending !== "" || (inside && !bar.beginsPart);
    if (bar.nextEnding && !inside) split = lacking;
    return right;
  });
}

function repeatsClose(events) {
  let open = false;
  for (const { type, sign } of events) {
    if (type !== "bar") continue;
    if (closes([sign])) open = false;
    if (opens(sign) && open) return false;
    if (opens(sign)) open = true;
  }
  return !open;
}

// Returns whether after each first ending, of a repeat that has closed, another ending begins.
function endingsFollow(events) {
  let [first, closed] = [false, false]; // whether one is open, and whether its repeat has closed
  for (const { type, sign, ending } of events) {
    if (type === "note" && closed) return false;
    if (type !== "bar") continue;
    if (ending) closed = false;
    if (first && divides([sign])) [first, closed] = [false, closes([sign]) && !ending];
    if (turnsOf(ending).has(1)) first = true;
  }
  return !closed;
}

function tiesJoin(events) {
  const notes = events.filter(({ type }) => type === "note");
  return notes.every(({ tied }, k) => {
    const next = notes[k + 1]?.heads.map(({ pitch }) => pitch) ?? [];
    return tied.every((pitch) => next.includes(pitch));
  });
}

// Returns bars in the order in which they are played.
export function orderOf(bars) {
  const numbers = [...bars.map(({ ending }) => turnsOf(ending)), new Set()];
  const found = [];
  let [k, start, turn, inEnding, most] = [0, 0, 1, false, 2];
  while (k < bars.length) {
    const bar = bars[k];
    const begins = bar.beginsPart && !(inEnding && turn < most);
    if (k > start && begins && !bar.ending) [start, turn, most, inEnding] = [k, 1, 2, false];
    most = Math.max(most, ...numbers[k], ...numbers[k + 1]);
    if (bar.ending) {
      if (!numbers[k].has(turn)) {
        k = otherEnding(bars, numbers, k, turn);
        continue;
      }
      inEnding = true;
    }
    found.push(bar);
    if (found.length > MOST) throw new Error("it has too many bars with all repeats");
    if (closes(bar.after) && turn < most) [k, turn, inEnding] = [start, turn + 1, false];
    else k++;
  }
  return found;
}

function otherEnding(bars, numbers, k, turn) {
  for (let i = k + 1; i < bars.length; i++)
    if (numbers[i].has(turn) || (!bars[i].ending && closes(bars[i].before))) return i;
  return bars.length;
}

// Returns { sounds, notes }: the sounds { pitch, start, length }, and when each note, chord or rest
// is played, { at, end, start, length }; times are in whole notes.
export function playedOf(tune) {
  const [sounds, notes] = [[], []];
  let [time, tied] = [0, new Map()];
  for (const bar of orderOf(measuresOf(tune)))
    for (const note of bar.notes) {
      notes.push({ at: note.at, end: note.end, start: time, length: note.length });
      let begin = time;
      const each = Math.min(GRACE, note.length / 2 / (note.graces.length || 1));
      for (const { pitch } of note.graces) {
        sounds.push({ pitch, start: begin, length: each });
        begin += each;
      }
      time += note.length;
      const sounding = new Map();
      for (const pitch of new Set(note.heads.map((head) => head.pitch))) {
        let sound = tied.get(pitch);
        if (sound) sound.length = time - sound.start;
        else sounds.push((sound = { pitch, start: begin, length: time - begin }));
        if (note.tied.includes(pitch)) sounding.set(pitch, sound);
      }
      tied = sounding;
    }
  sounds.sort((a, b) => a.start - b.start || a.pitch - b.pitch);
  return { sounds, notes, length: time };
}
