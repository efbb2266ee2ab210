// Rings around the chosen policy and the next best ones, the box of the filter and the user's bounds, as Plotly shapes:
// moving them redraws nothing else.

import { bounds, isFiltered } from "./scene.js";
import { state } from "./state.js";
import { colours, faded } from "./theme.js";

/** Returns the rings around points of a panel: [[x, y], ...] chosen first, then the alternatives. */
export function rings(places, xref = "x", yref = "y", size = 9) {
  const { text, background } = colours();
  const drawn = [];
  places.forEach(([x, y], index) => {
    if (index > 0) {
      drawn.unshift(ring(x, y, size - 2, { color: text, width: 1.2, dash: "dot" }, xref, yref));
      return;
    }
    drawn.push(ring(x, y, size, { color: background, width: 6 }, xref, yref));
    drawn.push(ring(x, y, size, { color: text, width: 2.6 }, xref, yref));
  });
  return drawn;
}

function ring(x, y, radius, line, xref, yref) {
  return {
    type: "circle", xref, yref, xsizemode: "pixel", ysizemode: "pixel", xanchor: x, yanchor: y,
    x0: -radius, x1: radius, y0: -radius, y1: radius, line, layer: "above",
  };
}

/** Returns the box of the filter in the panel of two objectives; none where neither has limits. */
export function filterBox(ranges, across, up, xref = "x", yref = "y") {
  if (!isFiltered() || !(state.filter[across] || state.filter[up])) return [];
  const within = (k) => (state.filter[k] ?? ranges[k]).map((value) => Math.min(ranges[k][1], Math.max(ranges[k][0], value)));
  const [[x0, x1], [y0, y1]] = [within(across), within(up)];
  const colour = colours().series[4];
  return [{ type: "rect", xref, yref, x0, x1, y0, y1, fillcolor: faded(colour, 0.12), line: { color: colour, width: 1.2 }, layer: "below" }];
}

/** Returns the lines of the user's bounds in the panel of two objectives: what a line's shaded side holds breaks the bound. */
export function boundLines(ranges, across, up, xref = "x", yref = "y") {
  const drawn = [];
  for (const { objective, atLeast, value } of bounds()) {
    const [lowest, highest] = ranges[objective];
    const broken = atLeast ? [lowest, Math.min(value, highest)] : [Math.max(value, lowest), highest];
    const own = objective === across ? ["x", "y"] : objective === up ? ["y", "x"] : null;
    if (!own || broken[0] >= broken[1]) continue;
    const [along, other] = own;
    const [from, to] = ranges[objective === across ? up : across];
    const side = { xref, yref, [`${along}0`]: broken[0], [`${along}1`]: broken[1], [`${other}0`]: from, [`${other}1`]: to };
    drawn.push({ ...side, type: "rect", fillcolor: faded(colours().text, 0.08), line: { width: 0 }, layer: "below" });
    if (value < lowest || value > highest) continue;
    drawn.push({
      ...side, type: "line", [`${along}0`]: value, [`${along}1`]: value, layer: "above",
      line: { color: colours().text, width: 1.5, dash: "dash" },
    });
  }
  return drawn;
}
