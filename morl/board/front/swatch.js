// The symbol, colour and dash of a series, as the charts draw it, for lists and tables.

import { state } from "./state.js";
import { dashes, glyph, look } from "./theme.js";

const SPACE = "http://www.w3.org/2000/svg";

/** Returns the picture of the series with a number. */
export function swatch(number) {
  const { colour, symbol, symbol3d, dash } = look(number, state.fold);
  const name = state.view === "space" ? symbol3d : symbol;
  const hollow = name.endsWith("-open");
  const picture = document.createElementNS(SPACE, "svg");
  const path = document.createElementNS(SPACE, "path");
  const line = document.createElementNS(SPACE, "path");
  const stroke = { d: "M-6 6H18", stroke: colour, "stroke-width": 1.5, "stroke-dasharray": dashes(dash).join(" "), fill: "none" };
  const attributes = { d: glyph(name.replace("-open", "")), fill: hollow ? "none" : colour, stroke: colour, "stroke-width": hollow ? 1.6 : 0 };
  for (const [key, value] of Object.entries({ viewBox: "-6 0 24 12", class: "swatch", "aria-hidden": "true" })) picture.setAttribute(key, value);
  for (const [key, value] of Object.entries(attributes)) path.setAttribute(key, value);
  for (const [key, value] of Object.entries(stroke)) line.setAttribute(key, value);
  picture.append(line, path);
  return picture;
}
