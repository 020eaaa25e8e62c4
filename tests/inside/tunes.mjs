// Reads tunes for test_tunes_page.py: node tunes.mjs PAGE-FOLDER < texts as JSON
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const load = (name) => import(pathToFileURL(`${process.argv[2]}/${name}`));
const { readTune } = await load("abc.mjs");
const { isRight, playedOf } = await load("performance.mjs");
const found = JSON.parse(readFileSync(0)).map((text) => {
  try {
    const tune = readTune(text);
    const sounds = playedOf(tune).sounds.map(({ pitch, start, length }) => [pitch, start, length]);
    return { right: isRight(tune), sounds };
  } catch (error) {
    return { error: error.message };
  }
});
console.log(JSON.stringify(found));
