// Rings around the chosen policy and the next best ones, as Plotly shapes: moving them redraws nothing else.

import { colours } from "./theme.js";

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
