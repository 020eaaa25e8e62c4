// Plays sounds as plucked strings. Specification: charlm/music/wav.py

const LOOP = 200; // samples of the string's loop, which is played at a speed that gives the pitch
const RINGS = 2 ** 12; // turns of the loop, after which a string is silent
const FADE = 0.15; // seconds in which a note ends
const LOUDNESS = 0.3;
const LEAD = 0.1; // seconds before the first note
let string = null; // all turns of the loop, one after the other

function plucked() {
  if (string) return string;
  string = new Float32Array(LOOP * RINGS);
  let turn = Float32Array.from({ length: LOOP }, () => Math.random() * 2 - 1);
  const mean = turn.reduce((a, b) => a + b) / LOOP;
  turn = turn.map((x) => x - mean);
  let last = 0;
  for (let k = 0; k < RINGS; k++) {
    string.set(turn, k * LOOP);
    const before = [last, ...turn.subarray(0, LOOP - 1)];
    last = turn[LOOP - 1];
    turn = turn.map((x, j) => (x + before[j]) / 2);
  }
  return string;
}

// Returns the samples of a note: pitch, a MIDI number; seconds until it is damped.
export function pluck(pitch, seconds, rate) {
  const whole = plucked();
  const speed = (440 * 2 ** ((pitch - 69) / 12) * (LOOP + 0.5)) / rate;
  const n = Math.round((seconds + FADE) * rate);
  return Float32Array.from({ length: n }, (_, t) => {
    const k = Math.floor(t * speed);
    if (k + 1 >= whole.length) return 0;
    const between = t * speed - k;
    const fade = Math.min(1, (n - 1 - t) / (FADE * rate));
    return fade * (whole[k] * (1 - between) + whole[k + 1] * between);
  });
}

// Plays sounds, whose times are in seconds. Returns { now, isSilent, stop }: the seconds since the
// first one began; whether the browser has no device that plays them; and a function that ends it.
export function play(sounds) {
  const audio = new AudioContext();
  const gain = audio.createGain();
  gain.gain.value = LOUDNESS;
  gain.connect(audio.destination);
  const buffers = new Map();
  const begin = audio.currentTime + LEAD;
  for (const { pitch, start, length } of sounds) {
    const name = `${pitch} ${length.toFixed(4)}`;
    if (!buffers.has(name)) {
      const samples = pluck(pitch, length, audio.sampleRate);
      const buffer = audio.createBuffer(1, samples.length, audio.sampleRate);
      buffer.copyToChannel(samples, 0);
      buffers.set(name, buffer);
    }
    const source = audio.createBufferSource();
    source.buffer = buffers.get(name);
    source.connect(gain);
    source.start(begin + start);
  }
  const started = performance.now() / 1000 + LEAD; // the clock of a missing device stands still
  const now = () => performance.now() / 1000 - started;
  return { now, isSilent: () => audio.currentTime === 0, stop: () => audio.close() };
}
