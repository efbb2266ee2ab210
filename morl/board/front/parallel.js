// Any number of objectives: parallel coordinates. Dragging a box over an axis filters that objective.

import { niceTicks, plotlyText, tickTexts } from "./dom.js";
import { MOST_DRAWN, threads } from "./paint.js";
import { bounds } from "./scene.js";
import { state } from "./state.js";
import { chartLayout, colours, faded } from "./theme.js";

const TICKS = 6; // about so many on each axis
const MOST_LETTERS = 60; // of all names, side by side; longer ones stand in two lines

export function figure({ groups, ranges, objectives, problem }) {
  const total = groups.reduce((sum, group) => sum + group.items.length, 0);
  const traces = [];
  const items = [];
  if (problem.known_front) {
    const known = Array.from({ length: problem.known_front.shape[0] }, (_, row) => [{ points: problem.known_front }, row]);
    traces.push({ type: "scatter", mode: "lines", hoverinfo: "skip", ...lines(known, ranges), line: { color: faded(colours().known, 0.45), width: 3 } });
    items.push(() => null);
  }
  const ordered = [...groups].sort((a, b) => Boolean(b.filtered) - Boolean(a.filtered)); // what is left out lies behind
  const opacityOf = (group) => (group.filtered ? 0.25 : Math.max(0.12, Math.min(0.85, 60 / group.items.length)));
  const many = total > MOST_DRAWN;
  for (const group of many ? [] : ordered) {
    const opacity = opacityOf(group);
    const colour = group.filtered ? colours().filtered : group.colour;
    traces.push({
      type: "scatter", mode: "lines", hoverinfo: "none", connectgaps: false,
      ...lines(group.items, ranges), line: { color: faded(colour, opacity), width: total > 200 ? 1 : 1.8, dash: group.filtered ? "solid" : group.dash },
    });
    items.push((point) => group.items[Math.floor(point / (objectives.length + 1))]);
  }
  const crowded = objectives.map(short).join("").length > MOST_LETTERS;
  const layout = chartLayout({
    margin: { l: 64, r: 48, t: 20, b: 56 }, dragmode: "select", uirevision: `parallel ${state.problem}`,
    xaxis: { range: [-0.18, objectives.length - 0.82], visible: false, fixedrange: true },
    yaxis: { range: [-0.02, 1.02], visible: false, fixedrange: true },
    shapes: [...objectives.map((_, k) => axisLine(k)), ...boundBars(ranges), ...filterBars(ranges)],
    annotations: objectives.flatMap((name, k) => axisTexts(short(name), k, ranges[k], crowded && k % 2 === 1)),
  });
  if (!traces.length) traces.push({ type: "scatter", x: [], y: [] });
  return { traces, layout, items, painted: many ? threads(ordered, ranges, opacityOf) : null, fixed: many };
}

function scaled(value, [lowest, highest]) {
  return (value - lowest) / (highest - lowest);
}

/** Returns the ways of points across all axes, one after the other, with a gap behind each. */
function lines(items, ranges) {
  const width = ranges.length + 1;
  const x = new Array(items.length * width);
  const y = new Array(items.length * width);
  items.forEach(([cloud, row], index) => {
    for (let k = 0; k < ranges.length; k++) {
      x[index * width + k] = k;
      y[index * width + k] = scaled(cloud.points.values[row * ranges.length + k], ranges[k]);
    }
    x[index * width + ranges.length] = y[index * width + ranges.length] = null;
  });
  return { x, y };
}

function axisLine(k) {
  return { type: "line", x0: k, x1: k, y0: 0, y1: 1, line: { color: colours().faint, width: 1.4 }, layer: "above" };
}

/** Returns a bar across an axis at each of the user's bounds, and a broad faint one along the part that breaks it. */
function boundBars(ranges) {
  return bounds().flatMap(({ objective: k, atLeast, value }) => {
    const at = Math.min(1, Math.max(0, scaled(value, ranges[k])));
    const [y0, y1] = atLeast ? [0, at] : [at, 1];
    if (y0 === y1) return [];
    const broken = { type: "rect", x0: k - 0.05, x1: k + 0.05, y0, y1, fillcolor: faded(colours().text, 0.15), line: { width: 0 }, layer: "below" };
    const bar = { type: "line", x0: k - 0.05, x1: k + 0.05, y0: at, y1: at, line: { color: colours().text, width: 2, dash: "dash" }, layer: "above" };
    return at > 0 && at < 1 ? [broken, bar] : [broken];
  });
}

function filterBars(ranges) {
  return state.filter.flatMap((limits, k) => {
    if (!limits) return [];
    const [y0, y1] = limits.map((limit) => Math.min(1, Math.max(0, scaled(limit, ranges[k]))));
    return [{ type: "rect", x0: k - 0.035, x1: k + 0.035, y0, y1, fillcolor: faded(colours().series[4], 0.45), line: { color: colours().series[4], width: 1.5 }, layer: "above" }];
  });
}

function short(name) {
  return name.length > 22 ? `${name.slice(0, 21)}…` : name;
}

function axisTexts(name, k, [lowest, highest], lower) {
  const { faint, text, background } = colours();
  const label = { x: k, y: 0, yref: "paper", yshift: lower ? -28 : -10, yanchor: "top", xanchor: "center", text: `<b>${plotlyText(name)}</b>`, showarrow: false, font: { color: text, size: 13 } };
  const values = niceTicks([lowest, highest], TICKS);
  const texts = tickTexts(values);
  const ticks = values.map((value, index) => ({
    x: k, y: scaled(value, [lowest, highest]), xanchor: "right", xshift: -5, text: texts[index], showarrow: false,
    bgcolor: faded(background, 0.75), borderpad: 1, font: { color: faint, size: 11 },
  }));
  return [label, ...ticks];
}

export function marks({ ranges }, { best, alternatives }) {
  const { text, background } = colours();
  const path = (policy) => policy.returns.map((value, k) => `${k ? "L" : "M"}${k},${scaled(value, ranges[k])}`).join("");
  const drawn = alternatives.map((policy) => ({ type: "path", path: path(policy), line: { color: text, width: 1.2, dash: "dot" }, layer: "above" }));
  if (!best) return drawn;
  return [...drawn, ...[[background, 6], [text, 3]].map(([color, width]) => ({ type: "path", path: path(best), line: { color, width }, layer: "above" }))];
}

/** Returns the limits that a box over one or several axes means; a box between axes means nothing. */
export function limits(range, { ranges }) {
  const [left, right] = range.x.toSorted((a, b) => a - b);
  const shares = range.y.toSorted((a, b) => a - b);
  const crossed = ranges.map((_, k) => k).filter((k) => k >= left && k <= right);
  if (!crossed.length) return null;
  return Object.fromEntries(crossed.map((k) => [k, shares.map((share) => ranges[k][0] + share * (ranges[k][1] - ranges[k][0]))]));
}
