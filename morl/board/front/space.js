// Three objectives: a scatter plot to turn around.

import { niceTicks, plotlyText, tickTexts } from "./dom.js";
import { bounds, column, distinct } from "./scene.js";
import { choice } from "./choice.js";
import { state } from "./state.js";
import { axisLayout, chartLayout, colours } from "./theme.js";

/** Points of a group that share one of this many cells in each direction are drawn once. */
const CELLS = 150;

export const KEYS = "Arrow keys rotate it.";
const FROM = { eye: { x: 1.55, y: 1.45, z: 0.85 }, center: { x: 0, y: 0, z: -0.14 } }; // whence the scene is seen

let drawnRanges = null; // of the axes; a graphics processor computes in 32 bits, so that points are drawn between 0 and 1
let firstMark = 0; // number of the trace that marks the chosen policy; the alternatives follow

export function figure({ groups, ranges, objectives, problem }) {
  drawnRanges = ranges;
  const traces = [];
  const items = [];
  if (problem.known_front) {
    const known = Array.from({ length: problem.known_front.shape[0] }, (_, row) => [{ points: problem.known_front }, row]);
    traces.push(cloudTrace(known, { color: colours().known, size: 4, symbol: "circle-open", opacity: 0.7 }));
    items.push(() => null);
  }
  for (const trace of bounds().flatMap((bound) => boundTraces(bound, ranges))) {
    traces.push(trace);
    items.push(() => null);
  }
  for (const group of groups) {
    const marker = group.filtered
      ? { color: colours().filtered, size: 2.5, opacity: 0.4 }
      : { color: group.colour, symbol: group.symbol3d, size: group.items.length > 1000 ? 2.5 : 5, opacity: 0.9, line: { width: 0 } };
    const drawn = distinct(group.items, [0, 1, 2], ranges, CELLS);
    traces.push(cloudTrace(drawn, marker));
    items.push((point) => drawn[point]);
  }
  firstMark = traces.length;
  const { text } = colours();
  traces.push({ ...cloudTrace([], { color: text, size: 8, symbol: "circle-open", opacity: 0.8 }) });
  traces.push({ ...cloudTrace([], { color: text, size: 14, symbol: "circle-open", line: { width: 3, color: text } }) });
  placeMarks(choice()).forEach((place, index) => Object.assign(traces[firstMark + index], place));
  items.push(() => null, () => null);
  const axis = (k) => ({ ...axisLayout(plotlyText(objectives[k]), { range: [0, 1], ...ticksOf(ranges[k]) }), backgroundcolor: colours().background, showspikes: false });
  const layout = chartLayout({
    margin: { l: 0, r: 0, t: 0, b: 0 }, uirevision: `space ${state.problem}`,
    scene: { xaxis: axis(0), yaxis: axis(1), zaxis: axis(2), camera: FROM, aspectmode: "cube", dragmode: "turntable" },
  });
  return { traces, layout, items };
}

function cloudTrace(items, marker) {
  return { type: "scatter3d", mode: "markers", hoverinfo: "none", x: column(items, 0).map(share(0)), y: column(items, 1).map(share(1)), z: column(items, 2).map(share(2)), marker };
}

/** Returns a plane across the scene at a user's bound, with a dashed edge, and the faint part of the cube that breaks it. */
function boundTraces({ objective, atLeast, value }, ranges) {
  const at = Math.min(1, Math.max(0, (value - ranges[objective][0]) / (ranges[objective][1] - ranges[objective][0])));
  const broken = atLeast ? [0, at] : [at, 1];
  if (broken[0] === broken[1]) return [];
  const { text } = colours();
  const side = { type: "mesh3d", ...box(objective, broken), ...BOX_SIDES, color: text, opacity: 0.08, hoverinfo: "skip", flatshading: true };
  if (at === 0 || at === 1) return [side];
  const edge = { type: "scatter3d", mode: "lines", ...rectangle(objective, at), line: { color: text, width: 4, dash: "dash" }, hoverinfo: "skip" };
  return [side, edge];
}

const AXES = ["x", "y", "z"];
const BOX_SIDES = { // corners of the twelve triangles of a box whose corner number has a bit for each axis
  i: [0, 3, 4, 7, 0, 5, 2, 7, 0, 6, 1, 7], j: [1, 1, 5, 5, 1, 1, 3, 3, 2, 2, 3, 3], k: [2, 2, 6, 6, 4, 4, 6, 6, 4, 4, 5, 5],
};

/** Returns the corners { x, y, z } of the part of the cube in which one axis lies between two limits. */
function box(axis, limits) {
  const corners = Array.from({ length: 8 }, (_, corner) => AXES.map((_, k) => (corner >> k) & 1));
  return Object.fromEntries(AXES.map((name, k) => [name, corners.map((corner) => (k === axis ? limits[corner[k]] : corner[k]))]));
}

/** Returns the closed line { x, y, z } around the cube at a place of one axis. */
function rectangle(axis, at) {
  const [first, second] = [0, 1, 2].filter((k) => k !== axis);
  const around = { [first]: [0, 1, 1, 0, 0], [second]: [0, 0, 1, 1, 0], [axis]: Array(5).fill(at) };
  return Object.fromEntries(AXES.map((name, k) => [name, around[k]]));
}

/** Returns a function that places a value of an objective between 0 and 1. */
function share(k) {
  const [lowest, highest] = drawnRanges[k];
  return (value) => (value - lowest) / (highest - lowest);
}

function ticksOf([lowest, highest]) {
  const values = niceTicks([lowest, highest], 5);
  return { tickmode: "array", tickvals: values.map((value) => (value - lowest) / (highest - lowest)), ticktext: tickTexts(values) };
}

/** Returns the coordinates of the alternatives, then of the chosen policy. */
function placeMarks({ best, alternatives }) {
  return [alternatives, best ? [best] : []].map((policies) => {
    const [x, y, z] = [0, 1, 2].map((k) => policies.map((policy) => share(k)(policy.returns[k])));
    return { x, y, z };
  });
}

/** Shapes do not reach into a 3-D scene: two traces of their own are moved. */
export function markInside(plot, chosen) {
  const [others, best] = placeMarks(chosen);
  const both = (name) => [others[name], best[name]];
  Plotly.restyle(plot, { x: both("x"), y: both("y"), z: both("z") }, [firstMark, firstMark + 1]);
}

/** Turns the scene by ten degrees. */
export function turn(plot, key) {
  const { eye, ...camera } = plot.layout.scene.camera;
  const distance = Math.hypot(eye.x, eye.y, eye.z);
  const around = Math.atan2(eye.y, eye.x) + ({ ArrowLeft: -1, ArrowRight: 1 }[key] ?? 0) * (Math.PI / 18);
  const above = Math.asin(eye.z / distance) + ({ ArrowDown: -1, ArrowUp: 1 }[key] ?? 0) * (Math.PI / 18);
  const height = Math.min(1.5, Math.max(-1.5, above));
  const level = distance * Math.cos(height);
  const moved = { x: level * Math.cos(around), y: level * Math.sin(around), z: distance * Math.sin(height) };
  Plotly.relayout(plot, { "scene.camera": { ...camera, eye: moved } });
}
