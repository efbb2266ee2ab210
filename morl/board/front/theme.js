// Colours: Okabe and Ito's palette, which readers with any colour vision can tell apart, then seven more that differ from
// those and from each other; and TensorBoard's two themes.

const LIGHT = {
  series: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
    "#4B2BFF", "#00B800", "#FF0FD2", "#7B2D8E", "#7A1A00", "#F00069", "#6E6E00"],
  text: "#212121", faint: "#616161", grid: "#E4E4E4", background: "#FFFFFF", known: "#9A9A9A", filtered: "#C8C8C8",
};
const DARK = {
  series: ["#56B4E9", "#F28E4B", "#2CC295", "#E6A0C8", "#F0C33C", "#9BB8FF", "#F5F5F5",
    "#B46BFF", "#3DF03D", "#FF4D7E", "#FF5BE0", "#D2FF96", "#7FA832", "#8FF0E6"],
  text: "#F2F2F2", faint: "#BDBDBD", grid: "#4A4A4A", background: "#303030", known: "#A8A8A8", filtered: "#5E5E5E",
};
/** Series that a reader can tell apart by colour alone, whatever the colour vision; each round has a dash of its own. */
const ROUND = 7;
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
/** Every series has a symbol too; after a round the symbols move on by one: colour, symbol and dash together are unique. */
const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x"];
/** Plotly writes these as characters of a font: its "x" is an emoji there, which machines without such a font lack. */
const SYMBOLS_3D = ["circle", "square", "diamond", "circle-open", "square-open", "diamond-open"];

const media = window.matchMedia("(prefers-color-scheme: dark)");
const board = boardBody();

/** TensorBoard marks its own page, around this frame; anywhere else the system's setting counts. */
function boardBody() {
  try {
    return window.parent !== window ? window.parent.document.body : null;
  } catch {
    return null; // a frame in a page of somebody else
  }
}

export function isDark() {
  return board ? board.classList.contains("dark-mode") : media.matches;
}

export function colours() {
  return isDark() ? DARK : LIGHT;
}

/** Calls back whenever the theme changes. */
export function watchTheme(callback) {
  media.addEventListener("change", callback);
  if (board) new MutationObserver(callback).observe(board, { attributeFilter: ["class"] });
}

/** Returns colour, symbols and dash of the series with a number; few folded series, whose lines may coincide, are all dashed differently. */
export function look(number, folded = false) {
  const { series } = colours();
  const round = Math.floor(number / ROUND);
  const symbol = (number + round) % SYMBOLS.length;
  const dash = DASHES[(folded ? number : round) % DASHES.length];
  return { colour: series[number % series.length], symbol: SYMBOLS[symbol], symbol3d: SYMBOLS_3D[(number + Math.floor(number / 42)) % SYMBOLS_3D.length], dash };
}

/** Returns a dash as lengths of strokes and gaps in pixels, for lines of a width. */
export function dashes(dash, width = 1.5) {
  const parts = { dash: [6, 4], dot: [1.5, 2.5], dashdot: [6, 3, 1.5, 3], longdash: [10, 4], longdashdot: [10, 3, 1.5, 3] }[dash] ?? [];
  return parts.map((part) => (part * width) / 1.5);
}

const GLYPHS = {
  "circle": "M6 1A5 5 0 1 1 6 11A5 5 0 1 1 6 1Z", "square": "M1.6 1.6H10.4V10.4H1.6Z", "triangle-up": "M6 .8L11.6 10.4H.4Z",
  "diamond": "M6 .2L11.8 6L6 11.8L.2 6Z", "triangle-down": "M6 11.2L11.6 1.6H.4Z",
  "cross": "M4.2 .8H7.8V4.2H11.2V7.8H7.8V11.2H4.2V7.8H.8V4.2H4.2Z",
  "x": "M3.5 .9L6 3.5L8.5 .9L11.1 3.5L8.5 6L11.1 8.5L8.5 11.1L6 8.5L3.5 11.1L.9 8.5L3.5 6L.9 3.5Z",
};

/** Returns a symbol as an SVG path in a square of 12 units. */
export function glyph(symbol) {
  return GLYPHS[symbol] ?? GLYPHS.circle;
}

/** Returns a colour "#rrggbb" with an opacity. */
export function faded(colour, opacity) {
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
  return `rgba(${red},${green},${blue},${opacity})`;
}

/** Returns the layout that all charts share. */
export function chartLayout(more = {}) {
  const { text, faint } = colours();
  return {
    font: { family: "Roboto, system-ui, sans-serif", size: 13, color: text },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 64, r: 16, t: 12, b: 48 }, showlegend: false, hovermode: "closest",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: faint, activecolor: text }, uirevision: "keep", ...more,
  };
}

export function axisLayout(title, more = {}) {
  const { grid, faint } = colours();
  return {
    title: { text: title, standoff: 8 }, gridcolor: grid, linecolor: faint, tickcolor: faint, zeroline: false,
    showline: true, ticks: "outside", ticklen: 4, tickfont: { color: faint, size: 12 }, exponentformat: "e", minexponent: 5,
    separatethousands: true, ...more,
  };
}

/** Returns Plotly's options: few buttons, nothing that leaves this page. A painted chart cannot be saved as a picture. */
export function chartOptions(rotatable = false, savable = true) {
  const buttons = rotatable ? ["pan3d", "tableRotation", "resetCameraDefault3d"] : ["zoom2d", "pan2d", "select2d", "resetScale2d"];
  if (savable) buttons.unshift("toImage");
  return {
    responsive: true, displaylogo: false, displayModeBar: "hover", doubleClick: "reset", modeBarButtons: [buttons],
    toImageButtonOptions: { format: "svg", filename: "pareto-front" },
  };
}
