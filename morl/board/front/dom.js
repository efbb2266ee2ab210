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

const NUMBERS = Array.from({ length: 9 }, (_, digits) => new Intl.NumberFormat("en-US", { maximumSignificantDigits: digits || 1 }));

/** Returns a number as people read it: six digits, no trailing zeros, a true minus sign. */
export function formatted(value, digits = 6) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Math.abs(value) < 1e-9) return "0"; // rounding errors of sums
  let text = Number(value.toPrecision(digits));
  text = Math.abs(text) >= 1e7 || (text !== 0 && Math.abs(text) < 1e-4) ? text.toExponential() : NUMBERS[digits].format(text);
  return text.replace("-", "−");
}

/** Returns about `count` round numbers between two others, evenly spaced: what to write beside an axis. */
export function niceTicks([lowest, highest], count) {
  const rough = (highest - lowest) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= 0.999 * rough) ?? 10);
  const first = Math.ceil(lowest / step - 1e-9);
  return Array.from({ length: Math.floor(highest / step + 1e-9) - first + 1 }, (_, index) => (first + index) * step);
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
