// Which policy serves the preference best, and what the next best ones would trade.

import { passes, pointOf, seedClouds } from "./scene.js";
import { listen, problem, state } from "./state.js";
import { normalized, UTILITIES } from "./utilities.js";

const ALTERNATIVES = 4;

let known = null; // the choice, until something that it depends on changes
listen(
  ["listing", "fronts", "histories", "problem", "selected", "step", "filter", "preference", "utility", "minimum", "picked"],
  () => (known = null),
);

/**
 * Returns { best, alternatives, byHand }: policies { run, cloud, row, returns, utility } of the selected runs, among the
 * points that pass the filter. `best` is null where there is none, or none meets the minimum requirements.
 */
export function choice() {
  known ??= choose();
  return known;
}

/** Returns what the utility is given beside the points: weights, ideal point, minimum of each objective. */
export function utilityArguments(clouds) {
  const ideal = state.utility === "tchebycheff" ? idealPoint(clouds) : null;
  return { weights: normalized(state.preference), ideal, minimum: minimumOf() };
}

function choose() {
  if (!problem() || state.preference.length !== problem().objectives.length) return { best: null, alternatives: [], byHand: false };
  const clouds = seedClouds();
  const given = utilityArguments(clouds);
  const scored = clouds.map((cloud) => ({ cloud, utilities: UTILITIES[state.utility].of(cloud.points, given) }));
  const picked = state.picked && pickedPolicy(scored);
  const found = highest(scored, ALTERNATIVES + (picked ? 2 : 1));
  if (!picked) return { best: found[0] ?? null, alternatives: found.slice(1), byHand: false };
  const others = found.filter(({ returns }) => !alike(picked.returns, returns, 0));
  return { best: picked, alternatives: others.slice(0, ALTERNATIVES), byHand: true };
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

/** Returns the points with the highest utility as policies, best first; of equal returns only the first. */
function highest(scored, count) {
  const found = [];
  let least = -Infinity; // utility that a point must exceed to be among them
  for (const entry of scored) {
    const { cloud: { points: { shape: [rows, objectives], values } }, utilities } = entry;
    for (let row = 0; row < rows; row++) {
      if (!(utilities[row] > least) || !passes(values, row * objectives)) continue;
      if (found.some(({ returns }) => alike(returns, values, row * objectives))) continue;
      const place = found.findIndex(({ utility }) => utility < utilities[row]);
      found.splice(place < 0 ? found.length : place, 0, policyAt(entry, row));
      found.length = Math.min(found.length, count);
      if (found.length === count) least = found[count - 1].utility;
    }
  }
  return found;
}

function alike(returns, values, start) {
  return returns.every((value, k) => Math.abs(value - values[start + k]) <= 1e-9 * Math.max(1, Math.abs(value)));
}

function policyAt({ cloud, utilities }, row) {
  return { run: cloud.run, cloud, row, returns: pointOf(cloud, row), utility: utilities[row] };
}

/** Returns the highest value of each objective in what is selected and in the known front. */
function idealPoint(clouds) {
  const ideal = problem().objectives.map(() => -Infinity);
  const all = clouds.map((cloud) => cloud.points);
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
