// Elements without HTML: every text goes through textContent, so that a name can never become markup.

/** Returns a new element. Attributes that are functions listen to events ("onclick"), `null` and `false` are left out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

const NUMBERS = new Map();

function numberFormat(digits) {
  if (!NUMBERS.has(digits)) NUMBERS.set(digits, new Intl.NumberFormat("en-US", { maximumSignificantDigits: digits }));
  return NUMBERS.get(digits);
}

const TAIL = 9; // letters at the end of a name that stay; shorter names are never elided

/** Returns a name as an element that leaves out its middle where there is no room; the whole is its title. */
export function elided(name, attributes = {}) {
  const parts = name.length > TAIL + 3 ? [name.slice(0, -TAIL), name.slice(-TAIL)] : [name];
  return element("span", { class: "name", title: name, ...attributes }, parts.map((part, index) => element("span", { class: index ? "tail" : "head" }, part)));
}

const DRAWING = "http://www.w3.org/2000/svg";
const PICTURES = {
  up: "M6 1L10.5 6.5H7.2V11H4.8V6.5H1.5Z", down: "M6 11L10.5 5.5H7.2V1H4.8V5.5H1.5Z",
  play: "M2 1L11 6L2 11Z", pause: "M2 1H5V11H2ZM7 1H10V11H7Z",
};

/** Returns a small picture ("up", "down", "play", "pause"), drawn: a font may lack the character, or show it in colour. */
export function picture(name, label = null) {
  const made = document.createElementNS(DRAWING, "svg");
  const path = document.createElementNS(DRAWING, "path");
  const named = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  for (const [key, value] of Object.entries({ viewBox: "0 0 12 12", class: "picture", ...named })) made.setAttribute(key, value);
  path.setAttribute("d", PICTURES[name]);
  made.append(path);
  return made;
}

/**
 * Returns a number as people read it: six digits, no trailing zeros, a true minus sign, very large and small ones with an
 * exponent. Beside numbers of a `size`, rounding errors of their sums are 0.
 */
export function formatted(value, digits = 6, size = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "infinite" : "−infinite";
  if (value === 0 || Math.abs(value) < 1e-12 * size) return "0";
  const rounded = Number(value.toPrecision(digits));
  const long = Math.abs(rounded) >= 1e7 || Math.abs(rounded) < 1e-4;
  return (long ? rounded.toExponential().replace("e+", "e") : numberFormat(digits).format(rounded)).replaceAll("-", "−");
}

/** Returns a number with its standard error, "3.14 ± 0.02"; the number alone where there is no error. */
export function withError(value, error, { size = 0, digits = 6 } = {}) {
  return error > 0 ? `${formatted(value, digits, size)} ± ${formatted(error, 2)}` : formatted(value, digits, size);
}

/** Returns the texts of evenly spaced numbers beside an axis, with as many digits as tell them apart. */
export function tickTexts(values) {
  const largest = Math.max(...values.map(Math.abs));
  const step = values.length > 1 ? Math.abs(values[1] - values[0]) : largest;
  const digits = Math.ceil(Math.log10(largest / step || 1)) + 2;
  return values.map((value) => formatted(value, Math.min(15, Math.max(6, digits)), step));
}

/** Returns about `count` round numbers between two others, evenly spaced: what to write beside an axis. */
export function niceTicks([lowest, highest], count) {
  const rough = (highest - lowest) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= 0.999 * rough) ?? 10);
  const first = Math.ceil(lowest / step - 1e-9);
  const length = Math.floor(highest / step + 1e-9) - first + 1;
  return length > 0 && length < 1000 ? Array.from({ length }, (_, index) => (first + index) * step) : [];
}

/** Returns the width in pixels that the numbers beside an upright axis and its title need. */
export function tickMargin(range) {
  const longest = Math.max(0, ...tickTexts(niceTicks(range, 6)).map((text) => text.length));
  return Math.min(140, Math.max(64, 36 + 7 * longest));
}

/** Returns text that Plotly shows as it is, although it understands some tags. */
export function plotlyText(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Returns an indicator's or a clock's name in words. */
export function inWords(name) {
  const known = { igd_plus: "IGD+", environment_steps: "all environment steps" };
  return Object.hasOwn(known, name) ? known[name] : name.replaceAll("_", " ");
}

/** Returns a text as one word of a shell's command. */
export function quoted(text) {
  return /^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Copies a text, and says so on the button for a moment. */
export async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea"); // where the clipboard is not allowed: a page without a secure origin
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const label = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = label), 1200);
}

/** Returns a line to copy, under what it is for. */
export function copyLine(label, text) {
  const button = element("button", { class: "quiet", "aria-label": `Copy the ${label} line`, onclick: () => copyText(text, button) }, "Copy");
  return element("div", { class: "code" }, element("span", {}, label), button, element("pre", { tabindex: 0 }, text));
}
