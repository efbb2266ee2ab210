// Tens of thousands of points or lines, painted on a canvas behind Plotly's axes: as elements of their own, or through a
// graphics processor that is only emulated, they take seconds.

import { problem } from "./state.js";
import { colours } from "./theme.js";

/** More points or lines than this, all panels together, are painted; fewer are Plotly's own, with symbols. */
export const MOST_DRAWN = 1500;
/** Of more lines an even choice is painted. */
const MOST_LINES = 3000;

/**
 * Returns points to paint in panels { xref, yref, across, up }: `draw` puts them on a canvas once Plotly has laid out the
 * axes, `nearest` finds the one under the mouse.
 */
export function dots(groups, panels) {
  return {
    draw: (canvas, plot) => drawDots(canvas, plot, groups, panels),
    nearest: (plot, event) => {
      for (const { xref, yref, across, up } of panels) {
        const place = placeIn(plot, xref, yref, event);
        if (!place) continue;
        const distance = (values, start) => Math.hypot(place.x.d2p(values[start + across]) - place.left, place.y.d2p(values[start + up]) - place.top);
        return nearest(groups, distance, 10);
      }
      return null;
    },
  };
}

/** Returns lines to paint, through axes at 0, 1, ... with heights from 0 to 1. */
export function threads(groups, ranges, opacityOf) {
  const total = groups.reduce((sum, group) => sum + group.items.length, 0);
  const every = Math.ceil(total / MOST_LINES);
  const shown = groups.map((group) => ({ ...group, items: group.items.filter((_, index) => index % every === 0) }));
  const heightOf = (values, start, k) => (values[start + k] - ranges[k][0]) / (ranges[k][1] - ranges[k][0]);
  return {
    note: every > 1 ? `One in ${every} of ${total.toLocaleString("en-US")} lines is drawn.` : "",
    draw: (canvas, plot) => drawThreads(canvas, plot, shown, ranges.length, heightOf, opacityOf),
    nearest: (plot, event) => {
      const place = placeIn(plot, "x", "y", event);
      if (!place) return null;
      const at = place.x.p2d(place.left);
      const first = Math.min(ranges.length - 2, Math.max(0, Math.floor(at)));
      const distance = (values, start) => {
        const [left, right] = [heightOf(values, start, first), heightOf(values, start, first + 1)];
        return Math.abs(place.y.d2p(left + (at - first) * (right - left)) - place.top);
      };
      return nearest(shown, distance, 6);
    },
  };
}

/** Writes the points pixel by pixel: a million a second would still be fast enough. */
function drawDots(canvas, plot, groups, panels) {
  const sharp = fitted(canvas, plot);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const image = new ImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (const { xref, yref, across, up } of panels) {
    const [x, y] = [axisOf(plot, xref), axisOf(plot, yref)];
    const [xscale, yscale] = [x._length / (x.range[1] - x.range[0]), y._length / (y.range[1] - y.range[0])]; // as d2p, but at once
    const side = Math.round((x._length > 250 ? 3.5 : 2.5) * sharp);
    for (const group of [...groups].reverse()) { // what the filter leaves out comes last in the list: paint it first
      const colour = pixelOf(group.filtered ? colours().filtered : group.colour);
      for (const [cloud, row] of group.items) {
        const start = row * cloud.points.shape[1];
        const left = (cloud.points.values[start + across] - x.range[0]) * xscale;
        const top = y._length - (cloud.points.values[start + up] - y.range[0]) * yscale;
        if (!(left >= 0 && left <= x._length && top >= 0 && top <= y._length)) continue;
        block(pixels, canvas.width, Math.round((x._offset + left) * sharp), Math.round((y._offset + top) * sharp), side, colour);
      }
    }
  }
  context.putImageData(image, 0, 0);
}

function block(pixels, width, left, top, side, colour) {
  const half = side >> 1;
  for (let down = 0; down < side; down++) {
    const start = (top - half + down) * width + left - half;
    for (let place = start; place < start + side; place++) pixels[place] = colour;
  }
}

/** Returns a colour "#rrggbb" as a pixel: alpha, blue, green, red from the highest byte. */
function pixelOf(colour) {
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function drawThreads(canvas, plot, groups, objectives, heightOf, opacityOf) {
  const sharp = fitted(canvas, plot);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const [x, y] = [axisOf(plot, "x"), axisOf(plot, "y")];
  context.setTransform(sharp, 0, 0, sharp, x._offset * sharp, y._offset * sharp);
  for (const group of groups) {
    context.globalAlpha = opacityOf(group);
    context.strokeStyle = group.filtered ? colours().filtered : group.colour;
    for (const [cloud, row] of group.items) {
      context.beginPath();
      for (let k = 0; k < objectives; k++) context.lineTo(x.d2p(k), y.d2p(heightOf(cloud.points.values, row * objectives, k)));
      context.stroke();
    }
  }
}

/** Empties the canvas, makes it as large as the chart, and returns how many of its pixels are one of the page's. */
export function fitted(canvas, plot) {
  const sharp = window.devicePixelRatio || 1;
  canvas.width = Math.round(plot.clientWidth * sharp);
  canvas.height = Math.round(plot.clientHeight * sharp);
  return sharp;
}

function nearest(groups, distance, limit) {
  let [best, least] = [null, limit];
  for (const group of groups.filter((candidate) => !candidate.filtered)) {
    for (const item of group.items) {
      const away = distance(item[0].points.values, item[1] * problem().objectives.length);
      if (away < least) [best, least] = [item, away];
    }
  }
  return best;
}

/** Returns an axis as Plotly has laid it out: `_offset` and `_length` in pixels, `d2p` and `p2d` from and to its numbers. */
function axisOf(plot, reference) {
  return plot._fullLayout[reference.replace(/^([xy])/, "$1axis")];
}

/** Returns the axes of a panel and where in it the mouse is, in pixels; null outside. */
function placeIn(plot, xref, yref, event) {
  const [x, y] = [axisOf(plot, xref), axisOf(plot, yref)];
  const frame = plot.getBoundingClientRect();
  const [left, top] = [event.clientX - frame.left - x._offset, event.clientY - frame.top - y._offset];
  return left >= 0 && left <= x._length && top >= 0 && top <= y._length ? { x, y, left, top } : null;
}
