// Two objectives: a scatter plot, the region that each front dominates, and attainment surfaces of folded seeds.

import { plotlyText, tickMargin } from "./dom.js";
import { boundLines, filterBox, rings } from "./marks.js";
import { dots, MOST_DRAWN } from "./paint.js";
import { column } from "./scene.js";
import { state } from "./state.js";
import { axisLayout, chartLayout, colours, faded } from "./theme.js";

const MOST_SHADED = 8;
const MOST_BARS = 150; // points of a series with bars around them; more would be a blot

export function figure({ clouds, groups, ranges, objectives, problem }) {
  const traces = [];
  const items = [];
  const add = (trace, lookUp = null) => {
    traces.push({ hoverinfo: lookUp ? "none" : "skip", ...trace }); // a corner of an outline must not hide the point on it
    items.push(lookUp);
  };
  const corner = problem.reference_point ?? ranges.map(([lowest, highest]) => lowest - (highest - lowest));
  if (problem.known_front) add(knownTrace(problem.known_front));
  const surfaces = clouds.filter((cloud) => cloud.surfaces).map((cloud) => surfaceTraces(cloud, ranges));
  for (const { band } of surfaces) add(band); // all bands lie behind all lines: none hides another setting
  for (const { lines } of surfaces) lines.forEach((trace) => add(trace));
  for (const cloud of clouds) {
    if (!cloud.surfaces && clouds.length <= MOST_SHADED) outlineTraces(cloud, corner, 0.3 / (clouds.length + 1)).forEach((trace) => add(trace));
  }
  const many = groups.reduce((sum, group) => sum + group.items.length, 0) > MOST_DRAWN;
  if (!state.fold && !many) for (const group of groups) add(pointTrace(group), (point) => group.items[point]);
  if (!traces.length) add(line([])); // without a trace Plotly draws no axes
  const painted = many && !state.fold ? dots(groups, [{ xref: "x", yref: "y", across: 0, up: 1 }]) : null;
  const [xrange, yrange] = ranges;
  const shared = chartLayout();
  const layout = chartLayout({
    xaxis: axisLayout(plotlyText(objectives[0]), { range: [...xrange], automargin: true }),
    yaxis: axisLayout(plotlyText(objectives[1]), { range: [...yrange], automargin: true }),
    margin: { ...shared.margin, l: tickMargin(yrange) },
    dragmode: "select", uirevision: `plane ${state.problem}`, shapes: [...boundLines(ranges, 0, 1), ...filterBox(ranges, 0, 1)],
  });
  return { traces, layout, items: items.map((lookUp) => lookUp ?? (() => null)), painted, fixed: painted !== null && clouds.length > MOST_SHADED };
}

function pointTrace(group) {
  const marker = group.filtered ? { color: colours().filtered, size: 5, opacity: 0.5 } : { color: group.colour, symbol: group.symbol, size: 9, opacity: 0.9 };
  return { type: "scatter", mode: "markers", x: column(group.items, 0), y: column(group.items, 1), marker, ...errorBars(group) };
}

/** Returns bars of one standard error around the points of a group; none where there are no errors, or too many points. */
function errorBars({ items, filtered, colour }) {
  if (filtered || items.length > MOST_BARS) return {};
  const errors = [0, 1].map((k) => items.map(([{ standard_errors: table }, row]) => table?.values[2 * row + k] || 0));
  const bars = (array) => ({ type: "data", array, color: faded(colour, 0.55), thickness: 1.2, width: 0 });
  return errors.flat().some((error) => error > 0) ? { error_x: bars(errors[0]), error_y: bars(errors[1]) } : {};
}

function knownTrace(known) {
  const items = Array.from({ length: known.shape[0] }, (_, row) => [{ points: known }, row]);
  const line = { color: colours().known, width: 1.6 };
  return {
    type: "scatter", mode: "markers", x: column(items, 0), y: column(items, 1),
    marker: { symbol: "circle-open", size: items.length > 60 ? 7 : 15, color: colours().known, line },
  };
}

/** Returns the corners of a staircase from left to right: of equal places the highest, and only what nothing dominates. */
function staircase({ shape: [count], values }) {
  const order = Array.from({ length: count }, (_, row) => row).sort((a, b) => values[2 * b] - values[2 * a] || values[2 * b + 1] - values[2 * a + 1]);
  const corners = [];
  let highest = -Infinity;
  for (const row of order) {
    if (values[2 * row + 1] > highest) corners.push([values[2 * row], values[2 * row + 1]]);
    highest = Math.max(highest, values[2 * row + 1]);
  }
  return corners.reverse();
}

/** Returns the way along a staircase: from `left`, down at each corner, to `bottom`. */
function way(corners, left, bottom) {
  const path = [[left, corners[0][1]]];
  corners.forEach(([x, y], index) => path.push([x, y], [x, index + 1 < corners.length ? corners[index + 1][1] : bottom]));
  return path;
}

function outlineTraces(cloud, [left, bottom], shade) {
  const corners = staircase(cloud.points).filter(([x, y]) => x > left && y > bottom);
  if (!corners.length) return [];
  const region = [[left, bottom], ...way(corners, left, bottom), [left, bottom]];
  const steps = way(corners, left, bottom).slice(1, -1);
  return [
    { ...line(region), fill: "toself", fillcolor: faded(cloud.colour, shade), line: { width: 0 } },
    { ...line(steps), line: { color: faded(cloud.colour, 0.6), width: 1.2, dash: cloud.dash } },
  ];
}

/** Returns the band between best and worst attainment surface, and the lines of both and of the median. */
function surfaceTraces({ surfaces, colour, seeds, dash: own }, [[left], [bottom]]) {
  const paths = Object.fromEntries(
    Object.entries(surfaces).filter(([, surface]) => surface.shape[0]).map(([name, surface]) => [name, way(staircase(surface), left, bottom)]),
  );
  const worst = paths.worst ?? [[left, bottom]];
  const band = { ...line([...paths.best, ...worst.toReversed(), paths.best[0]]), fill: "toself", fillcolor: faded(colour, 0.2), line: { width: 0 } };
  const lines = [];
  for (const [name, dash, width] of [["best", "dot", 1.4], ["worst", "dot", 1.4], ["median", own, 2.6]]) {
    if (paths[name] && (seeds > 1 || name === "median")) lines.push({ ...line(paths[name]), line: { color: colour, width, dash } });
  }
  return { band, lines };
}

function line(path) {
  return { type: "scatter", mode: "lines", x: path.map(([x]) => x), y: path.map(([, y]) => y) };
}

export function marks(scene, { best, alternatives }) {
  return rings([best, ...alternatives].filter(Boolean).map((policy) => policy.returns));
}

/** Returns the limits of both objectives that a box means. */
export function limits(range) {
  return { 0: range.x.toSorted((a, b) => a - b), 1: range.y.toSorted((a, b) => a - b) };
}
