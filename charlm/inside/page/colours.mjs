// Colours of values between -1 and 1.

const LEVELS = 127;
const STRONGEST = 0.55; // opacity; text over it keeps a contrast of 4.5:1
export const UNKNOWN = "rgba(128, 128, 128, 0.6)";

// Returns a function from a value to a colour, or null for NaN, in the page's light or dark theme.
export function colours() {
  const style = getComputedStyle(document.documentElement);
  const [high, low] = ["--high", "--low"].map((name) => style.getPropertyValue(name));
  const table = Array.from({ length: 2 * LEVELS + 1 }, (_, k) => {
    const value = k / LEVELS - 1;
    return `rgba(${value > 0 ? high : low}, ${(STRONGEST * Math.abs(value)).toFixed(3)})`;
  });
  return (value) =>
    Number.isNaN(value) ? null : table[Math.round(LEVELS * (1 + Math.max(-1, Math.min(1, value))))];
}
