// Which policy serves the preference best, and what the next best ones would trade. Policies are chosen as `Run.best_row`
// chooses them: by the returns of episodes other than those that are reported, where a run has them, and among those that
// break the user's constraints least.

import { passes, pointOf, seedClouds } from "./scene.js";
import { listen, problem, selectedRuns, state } from "./state.js";
import { normalized, scalesDiffer, UTILITIES } from "./utilities.js";

const ALTERNATIVES = 4;

/** The keys of the state that the choice depends on. */
export const CHOICE_KEYS = [
  "listing", "fronts", "histories", "problem", "selected", "step", "filter", "preference", "utility", "minimum", "picked", "normalized",
];

let known = null; // the choice, until something that it depends on changes
listen(CHOICE_KEYS, () => (known = null));

/**
 * Returns { best, alternatives, byHand }: policies { run, cloud, row, returns, utility } of the selected runs, among the
 * points that pass the filter. `best` is null where there is none, or none meets the minimum requirements.
 */
export function choice() {
  known ??= choose();
  return known;
}

/** Returns what the utility is given beside the points: weights, ideal point, minimum of each objective, scales or null. */
export function utilityArguments(clouds) {
  const ideal = state.utility === "tchebycheff" ? idealPoint(clouds) : null;
  return { weights: normalized(state.preference), ideal, minimum: minimumOf(), scales: isNormalized() ? commonScales().scales : null };
}

/** Returns whether weights count returns in scales: as the user says, or else where the scales differ much. */
export function isNormalized() {
  return state.normalized ?? scalesDiffer(commonScales().scales);
}

let knownScales = null;
listen(["listing", "fronts", "problem", "selected"], () => (knownScales = null));

/** Returns { scales, given }: how much of each objective is worth the same, as the runs say, or the range of all points. */
export function commonScales() {
  knownScales ??= computeScales();
  return knownScales;
}

function computeScales() {
  const fronts = selectedRuns().map((run) => state.fronts[run.name]).filter((front) => front?.points.shape[0]);
  const own = (front) => Array.from(front.scales.values);
  const stated = new Map(fronts.filter((front) => front.scales_given).map((front) => [own(front).join(), front]));
  if (stated.size === 1) return { scales: own([...stated.values()][0]), given: true };
  if (fronts.length === 1) return { scales: own(fronts[0]), given: false };
  return { scales: problem().objectives.map((_, k) => rangeOf(fronts.map((front) => front.points), k)), given: false };
}

/** Returns the range of one objective; its size where all points have the same, as morl.preferences.scales_of. */
function rangeOf(tables, k) {
  let [low, high] = [Infinity, -Infinity];
  for (const { shape: [count, objectives], values } of tables) {
    for (let row = 0; row < count; row++) {
      const value = values[row * objectives + k];
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (high > low) return Math.min(high - low, Number.MAX_VALUE);
  return Number.isFinite(high) && high !== 0 ? Math.abs(high) : 1;
}

/** Returns the points that policies are chosen by. */
export function choicePoints(cloud) {
  return cloud.choice_points ?? cloud.points;
}

function choose() {
  if (!problem() || state.preference.length !== problem().objectives.length) return { best: null, alternatives: [], byHand: false };
  const clouds = seedClouds();
  const given = utilityArguments(clouds);
  const scored = clouds.map((cloud) => ({ cloud, utilities: UTILITIES[state.utility].of(choicePoints(cloud), given) }));
  const picked = state.picked && pickedPolicy(scored);
  const tolerances = extents(clouds).map(({ rounding }) => rounding);
  const found = highest(scored, tolerances, ALTERNATIVES + (picked ? 2 : 1));
  if (!picked) return { best: found[0] ?? null, alternatives: found.slice(1), byHand: false };
  const others = found.filter(({ returns }) => !alike(picked.returns, returns, 0, tolerances));
  return { best: picked, alternatives: others.slice(0, ALTERNATIVES), byHand: true };
}

/**
 * Returns { row, byDefault } of what `Run.best_row(preference, normalized=...)` chooses in the front of a run: its row
 * among those shown, and whether `normalized` is the run's default as it is set here.
 */
export function rowOfRun(front) {
  const scales = Array.from(front.scales.values);
  const given = { weights: normalized(state.preference), scales: isNormalized() ? scales : null };
  const utilities = UTILITIES.linear.of(choicePoints(front), given);
  const violations = front.violations?.values;
  const least = violations ? violations.reduce((low, value) => Math.min(low, value), Infinity) : 0;
  let best = -1;
  utilities.forEach((utility, row) => {
    if ((violations?.[row] ?? 0) === least && (best < 0 || utility > utilities[best])) best = row;
  });
  return { row: best, byDefault: isNormalized() === scalesDiffer(scales) };
}

/** Returns { run, row } of the policy after (1) or before (-1) the chosen one in the order of the first objective. */
export function neighbour(forward) {
  const { best } = choice();
  const all = seedClouds().flatMap((cloud) => {
    const { shape: [count, objectives], values } = cloud.points;
    return Array.from({ length: count }, (_, row) => ({ run: cloud.run.name, row, value: values[row * objectives] })).filter(({ row }) => passes(values, row * objectives));
  });
  all.sort((a, b) => a.value - b.value);
  const now = all.findIndex(({ run, row }) => run === best?.run.name && row === best.row);
  const next = all[now < 0 ? 0 : now + forward];
  return next ? { run: next.run, row: next.row } : null;
}

function pickedPolicy(scored) {
  const { run, row } = state.picked;
  const entry = scored.find(({ cloud }) => cloud.run.name === run);
  return entry && row < entry.cloud.points.shape[0] ? policyAt(entry, row) : null;
}

/** Returns the points with the highest utility as policies, best first; of nearly equal returns only the best. */
function highest(scored, tolerances, count) {
  const found = [];
  const least = leastViolation(scored.map(({ cloud }) => cloud));
  for (const entry of scored) {
    const { cloud: { points: { shape: [rows, objectives], values } }, utilities } = entry;
    for (let row = 0; row < rows; row++) {
      const utility = utilities[row];
      if (!(utility > (found[count - 1]?.utility ?? -Infinity)) || !isOpen(entry.cloud, row, least)) continue;
      const twin = found.findIndex(({ returns }) => alike(returns, values, row * objectives, tolerances));
      if (twin >= 0 && found[twin].utility >= utility) continue;
      if (twin >= 0) found.splice(twin, 1);
      const place = found.findIndex((other) => other.utility < utility);
      found.splice(place < 0 ? found.length : place, 0, policyAt(entry, row));
      found.length = Math.min(found.length, count);
    }
  }
  return found;
}

function isOpen({ points: { shape: [, objectives], values }, violations }, row, least) {
  return passes(values, row * objectives) && (violations?.values[row] ?? 0) <= least;
}

/** Returns by how much the points that pass the filter break the user's constraints, where they do least. */
export function leastViolation(clouds) {
  let least = Infinity;
  for (const { points: { shape: [rows, objectives], values }, violations } of clouds) {
    for (let row = 0; row < rows; row++) {
      if (passes(values, row * objectives)) least = Math.min(least, violations?.values[row] ?? 0);
    }
  }
  return least;
}

/**
 * Returns for each objective over all clouds { size, rounding, digits }: its largest size, a difference that is mere
 * rounding, and how many digits tell its values apart.
 */
export function extents(clouds) {
  return problem().objectives.map((_, k) => {
    let [low, high] = [Infinity, -Infinity];
    for (const { points: { shape: [count, objectives], values } } of clouds) {
      for (let row = 0; row < count; row++) {
        low = Math.min(low, values[row * objectives + k]);
        high = Math.max(high, values[row * objectives + k]);
      }
    }
    if (!Number.isFinite(low)) return { size: 0, rounding: 0, digits: 6 };
    const size = Math.max(Math.abs(low), Math.abs(high));
    const range = high - low;
    const digits = range > 0 && size > 0 ? Math.ceil(Math.log10(size / range)) + 4 : 6;
    return { size, rounding: Math.max(1e-9 * range, 1e-13 * size), digits: Math.min(15, Math.max(6, digits)) };
  });
}

function alike(returns, values, start, tolerances) {
  return returns.every((value, k) => Math.abs(value - values[start + k]) <= tolerances[k]);
}

function policyAt({ cloud, utilities }, row) {
  return { run: cloud.run, cloud, row, returns: pointOf(cloud, row), utility: utilities[row] };
}

/** Returns the highest value of each objective in what is selected and in the known front. */
function idealPoint(clouds) {
  const ideal = problem().objectives.map(() => -Infinity);
  const all = clouds.map(choicePoints);
  if (problem().known_front) all.push(problem().known_front);
  for (const { values } of all) {
    for (let place = 0; place < values.length; place++) {
      const k = place % ideal.length;
      if (values[place] > ideal[k]) ideal[k] = values[place];
    }
  }
  return ideal;
}

function minimumOf() {
  return problem().objectives.map((_, k) => state.minimum[k] ?? -Infinity);
}
