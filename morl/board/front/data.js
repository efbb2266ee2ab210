// Keeps the state's data up to date: asks only for what is selected, and again only for what has changed.

import { decoded, loadCurves, loadFilms, loadFolds, loadFronts, loadHistories, loadRuns, offline } from "./api.js";
import { byName, change, problem, selectedRuns, settingsOfProblem, state } from "./state.js";

const REFRESH_MILLISECONDS = 4000;
const MOST_SELECTED = 200;
const RUNS_AT_ONCE = 10;

/** Loads the list of runs, again every few seconds where there is a server; shows the largest problem first. */
export async function begin(showProblem) {
  await refresh(showProblem);
  if (!offline) setInterval(() => document.hidden || refresh(showProblem), REFRESH_MILLISECONDS);
}

let text = "";

async function refresh(showProblem) {
  try {
    const listing = await loadRuns();
    const received = JSON.stringify(listing);
    if (received === text && !state.error) return;
    text = received;
    for (const problem of listing.problems) problem.known_front = decoded(problem.known_front);
    const earlier = new Set(state.listing.runs.map((run) => run.name));
    const added = listing.runs.filter((run) => run.problem === state.problem && !earlier.has(run.name)).map((run) => run.name);
    change({ listing, loaded: true, error: "", selected: added.length ? new Set([...state.selected, ...added]) : state.selected });
    if (!problem() && listing.problems.length) showProblem(largestProblem(listing));
  } catch (error) {
    change({ error: `The data cannot be loaded: ${error.message}` });
  }
}

function largestProblem({ problems, runs }) {
  const count = (key) => runs.filter((run) => run.problem === key).length;
  return [...problems].sort((a, b) => count(b.key) - count(a.key))[0].key;
}

/** Returns the runs of a problem that are selected at first: all of them, up to 200. */
export function firstSelection(key) {
  return new Set(state.listing.runs.filter((run) => run.problem === key).slice(0, MOST_SELECTED).map((run) => run.name));
}

/** Loads what is selected and missing or outdated: fronts first, what the rest of the page shows after the first picture. */
export const loadSelected = latestOnly(async () => {
  const runs = selectedRuns();
  const names = outdated(runs, state.fronts, "version");
  if (names.length) change({ fronts: byName(state.fronts, await loadFronts(names)) });
  const recorded = runs.filter((run) => run.film_version !== (state.films[run.name]?.version ?? "")).map((run) => run.name);
  if (recorded.length) change({ films: byName(state.films, await loadFilms(recorded)) });
  await loadFolded();
  await new Promise((resume) => setTimeout(resume)); // the browser draws first
  const late = outdated(runs, state.histories, "history_version");
  let histories = byName();
  for (let start = 0; start < late.length; start += RUNS_AT_ONCE) {
    histories = byName(histories, await loadHistories(late.slice(start, start + RUNS_AT_ONCE))); // long files: other questions get between
  }
  if (late.length) change({ histories: byName(state.histories, histories) });
  const all = runs.map((run) => run.name);
  const key = JSON.stringify(runs.map((run) => [run.name, state.histories[run.name]?.version]));
  if (all.length && key !== state.curves.key) {
    const { runs: found, settings } = await loadCurves(all, settingsOfProblem());
    change({ curves: { runs: byName(found), settings, key } });
  }
});

/** Loads the folded seeds for the step that is shown. */
export const loadFolded = latestOnly(async () => {
  if (!state.fold) return;
  const names = selectedRuns().map((run) => run.name);
  change({ folds: names.length ? await loadFolds(names, state.step, settingsOfProblem()) : {} });
});

function outdated(runs, have, version) {
  return runs.filter((run) => have[run.name]?.version !== run[version]).map((run) => run.name);
}

/** Returns a function that runs one call at a time, and after it one more if any were asked for meanwhile. */
function latestOnly(task) {
  let running = null;
  let again = false;
  const run = async () => {
    if (running) {
      again = true;
      return running;
    }
    do {
      again = false;
      running = task().catch((error) => change({ error: `The data cannot be loaded: ${error.message}` }));
      await running;
    } while (again);
    running = null;
  };
  return run;
}
