// What the charts draw: one cloud of points for each selected run (or folded setting), filtered, and the ranges of axes.

import { look } from "./theme.js";
import { problem, selectedRuns, seriesOf, settingsOfProblem, state } from "./state.js";

/** Numbers beyond this size are not drawn: the length of an axis must be a number too. */
export const LARGEST_DRAWN = 1e307;
/** The smallest length of an axis: pixels divided by it must be a number too. */
export const SMALLEST_DRAWN = 1e-290;

/** Groups up to this size are drawn in full. */
const FEW = 400;

/** Returns the clouds of what is selected at the time that is selected. A cloud's points have shape [n, objective]. */
export function clouds() {
  return state.fold ? foldedClouds() : seedClouds();
}

/** Returns a cloud for each selected run: { run, name, number, points, rows, ... }; these are what can be chosen from. */
export function seedClouds() {
  const made = [];
  for (const run of selectedRuns()) {
    const front = state.step === null ? state.fronts[run.name] : frontAt(run.name, state.step);
    if (!front || front.points.shape[0] === 0) continue;
    const number = seriesOf(run);
    made.push({ run, name: run.name, number, ...look(number), ...front });
  }
  return made;
}

/** Returns the last front of a run up to a training step, or null. */
function frontAt(name, step) {
  const history = state.histories[name];
  if (!history) return null;
  let latest = -1;
  for (let index = 0; index < history.steps.length && history.steps[index] <= step; index++) latest = index;
  return latest < 0 ? null : { points: history.fronts[latest], at: history.steps[latest] };
}

/** Returns a cloud for each setting: the best points of its seeds, and in the plane its attainment surfaces. */
function foldedClouds() {
  const made = [];
  for (const [number, setting] of settingsOfProblem().entries()) {
    const fold = state.folds[setting.key];
    if (!fold?.surfaces.best) continue;
    const seeds = fold.runs.length;
    const name = `${setting.label} (${seeds} ${seeds === 1 ? "seed" : "seeds"})`;
    made.push({ setting, name, number, seeds, ...look(number, true), points: fold.surfaces.best, surfaces: fold.surfaces });
  }
  return made;
}

/** Returns [lowest, highest] of each objective over everything that is selected, at any time, with some room. */
export function ranges() {
  const { objectives, known_front: known } = problem();
  const low = objectives.map(() => Infinity);
  const high = objectives.map(() => -Infinity);
  const include = ({ shape: [count], values }) => {
    for (let place = 0; place < count * objectives.length; place++) {
      const k = place % objectives.length;
      if (values[place] < low[k]) low[k] = values[place];
      if (values[place] > high[k]) high[k] = values[place];
    }
  };
  for (const run of selectedRuns()) {
    if (state.fronts[run.name]) include(state.fronts[run.name].points);
    for (const front of state.histories[run.name]?.fronts ?? []) include(front);
  }
  if (known) include(known);
  return low.map((lowest, k) => {
    if (!Number.isFinite(lowest)) return [0, 1];
    const [from, to] = [lowest, high[k]].map((value) => Math.min(LARGEST_DRAWN, Math.max(-LARGEST_DRAWN, value)));
    const size = Math.max(Math.abs(from), Math.abs(to));
    const room = to > from ? Math.max(0.06 * (to - from), 1e-15 * size) : 0.1 * size || 1;
    const enough = Math.max(room, SMALLEST_DRAWN);
    return [from - enough, to + enough];
  });
}

/** Returns the bounds that the users of the selected runs set: { objective, atLeast, value, text }, each once. */
export function bounds() {
  const found = new Map();
  for (const run of selectedRuns()) {
    for (const [objective, text] of Object.entries(state.fronts[run.name]?.bounds ?? {})) {
      const value = Number(text.slice(2));
      found.set(`${objective} ${text}`, { objective: Number(objective), atLeast: text.startsWith(">="), value, text });
    }
  }
  return [...found.values()];
}

/** Returns whether a point passes the filter. */
export function passes(values, start) {
  for (let k = 0; k < state.filter.length; k++) {
    const limits = state.filter[k];
    if (limits !== null && !(values[start + k] >= limits[0] && values[start + k] <= limits[1])) return false;
  }
  return true;
}

export function isFiltered() {
  return state.filter.some((limits) => limits !== null);
}

/** Sets the limits of some objectives: { k: [lowest, highest] or null }; returns the new filter. */
export function withLimits(limits) {
  return problem().objectives.map((_, k) => (k in limits ? limits[k] : state.filter[k] ?? null));
}

/**
 * Returns the points of all clouds put together by look: few traces draw faster than many.
 * Each group: { colour, symbol, symbol3d, items: [cloud, row] pairs }; the last one holds what the filter leaves out.
 */
export function groups(shown) {
  const byLook = new Map();
  const left = { filtered: true, items: [] };
  for (const cloud of shown) {
    const { shape: [count, objectives], values } = cloud.points;
    if (!byLook.has(cloud.number)) byLook.set(cloud.number, { ...cloud, items: [] });
    const group = byLook.get(cloud.number);
    for (let row = 0; row < count; row++) {
      (passes(values, row * objectives) ? group : left).items.push([cloud, row]);
    }
  }
  return [...byLook.values(), left].filter((group) => group.items.length);
}

/**
 * Returns those items of a group that can be told apart when each of some objectives is drawn on so many pixels (or
 * other cells): the first in each cell. Tens of thousands of points on one front are a few thousand dots.
 */
export function distinct(items, objectives, ranges, cells) {
  if (items.length <= FEW) return items;
  const scales = objectives.map((k) => cells / (ranges[k][1] - ranges[k][0]));
  const taken = new Set();
  return items.filter(([cloud, row]) => {
    const start = row * cloud.points.shape[1];
    let cell = 0;
    objectives.forEach((k, index) => {
      const place = Math.floor((cloud.points.values[start + k] - ranges[k][0]) * scales[index]);
      cell = cell * (cells + 1) + place;
    });
    if (taken.has(cell)) return false;
    taken.add(cell);
    return true;
  });
}

/** Returns one objective of the points of a group. */
export function column(items, k) {
  const values = new Float64Array(items.length);
  for (let index = 0; index < items.length; index++) {
    const [cloud, row] = items[index];
    values[index] = cloud.points.values[row * cloud.points.shape[1] + k];
  }
  return values;
}

/** Returns the vector of one point. */
export function pointOf(cloud, row) {
  const objectives = cloud.points.shape[1];
  return Array.from(cloud.points.values.slice(row * objectives, (row + 1) * objectives));
}
