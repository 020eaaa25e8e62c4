// The random numbers of numpy.random.default_rng([seed, n]): PCG64, seeded by SeedSequence.
//
// Sources: O'Neill 2014, "PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms
// for Random Number Generation", section 6.3.3 (XSL-RR); O'Neill 2015, "Developing a seed_seq
// Alternative" (the hash of the seed), which NumPy adapted.

const WORD = 0xffffffff;
const MASK128 = (1n << 128n) - 1n;
const MASK64 = (1n << 64n) - 1n;
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;
const POOL = 4;

// Returns a whole number, a BigInt of at least 0, as words of 32 bits, the lowest first.
function words(n) {
  const found = [];
  do {
    found.push(Number(n & 0xffffffffn));
    n >>= 32n;
  } while (n > 0n);
  return found;
}

// Returns a hash function of words; each call changes its constant.
function hasher(constant, multiplier) {
  return (value) => {
    value = (value ^ constant) >>> 0;
    constant = Math.imul(constant, multiplier) >>> 0;
    value = Math.imul(value, constant) >>> 0;
    return (value ^ (value >>> 16)) >>> 0;
  };
}

function mix(x, y) {
  const found = (Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y)) & WORD;
  return ((found >>> 0) ^ (found >>> 16)) >>> 0;
}

// Returns eight words that depend on every bit of the entropy, words of 32 bits.
function seedSequence(entropy) {
  const hash = hasher(0x43b0d7e5, 0x931e8875);
  const pool = Array.from({ length: POOL }, (_, k) => hash(entropy[k] ?? 0));
  for (let from = 0; from < POOL; from++)
    for (let to = 0; to < POOL; to++) if (from !== to) pool[to] = mix(pool[to], hash(pool[from]));
  for (let from = POOL; from < entropy.length; from++)
    for (let to = 0; to < POOL; to++) pool[to] = mix(pool[to], hash(entropy[from]));
  const output = hasher(0x8b51f9dd, 0x58f38ded);
  return Array.from({ length: 8 }, (_, k) => output(pool[k % POOL]));
}

export class RandomNumbers {
  // seed: a whole number or a BigInt; index: of the text.
  constructor(seed, index) {
    const state = seedSequence([...words(BigInt(seed)), ...words(BigInt(index))]);
    const [high, low, first, second] = [0, 2, 4, 6].map(
      (k) => (BigInt(state[k + 1]) << 32n) | BigInt(state[k]),
    );
    this.increment = ((((first << 64n) | second) << 1n) | 1n) & MASK128;
    this.state = 0n;
    this.#advance();
    this.state = (this.state + ((high << 64n) | low)) & MASK128;
    this.#advance();
  }

  #advance() {
    this.state = (this.state * MULTIPLIER + this.increment) & MASK128;
  }

  // Returns the next number in [0, 1).
  next() {
    this.#advance();
    const x = (this.state >> 64n) ^ (this.state & MASK64);
    const by = this.state >> 122n;
    const rotated = ((x >> by) | (x << ((64n - by) & 63n))) & MASK64;
    return Number(rotated >> 11n) / 2 ** 53;
  }
}
