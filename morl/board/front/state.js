// What is shown, in one place. `change` merges a patch and tells those who listen which keys it held.

/** Returns one table of several, whose keys may be any text: a run may be called "constructor". */
export function byName(...tables) {
  return Object.assign(Object.create(null), ...tables);
}

export const state = {
  listing: { problems: [], settings: [], runs: [], others: [], logdir: "" },
  fronts: byName(), // run name -> reported front
  histories: byName(), // run name -> fronts over training
  curves: { runs: byName(), settings: {} },
  films: byName(), // run name -> what is recorded of it
  held: null, // { run, row }: a policy that is kept in view beside the chosen one
  folds: {}, // setting key -> folded seeds, at `step`
  problem: null, // key
  selected: new Set(), // run names
  pattern: "",
  fold: false,
  view: "plane",
  step: null, // training step; null shows what the runs report
  preference: [],
  utility: "linear",
  minimum: [],
  normalized: null, // whether weights count returns in scales; null: where these differ much
  filter: [], // [lowest, highest] of each objective; null where there is none
  picked: null, // { run, row }: a policy that the user points at instead of the best one
  compared: null, // { pair, recommended }: two policies that the user is asked about, and { run, row } that answers recommend
  clock: "training_steps",
  loaded: false, // whether the list of runs has come
  plotly: false, // whether Plotly is there to draw with
  error: "",
};

const listeners = [];

export function listen(keys, callback) {
  listeners.push({ keys, callback });
}

export function change(patch) {
  Object.assign(state, patch);
  const changed = Object.keys(patch);
  for (const { keys, callback } of listeners) if (keys.some((key) => changed.includes(key))) callback();
}

/** Returns a function that runs `callback` once before the next picture, however often it is called. */
export function oncePerFrame(callback) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      callback();
    });
  };
}

/** Returns a function that runs `callback` once it has not been called for a moment: for what need not follow a slider. */
export function whenStill(callback) {
  let timer = null;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(callback, 120);
  };
}

export function problem() {
  return state.listing.problems.find((candidate) => candidate.key === state.problem) ?? null;
}

export function runsOfProblem() {
  return state.listing.runs.filter((run) => run.problem === state.problem);
}

export function settingsOfProblem() {
  return state.listing.settings.filter((setting) => setting.problem === state.problem);
}

export function selectedRuns() {
  return runsOfProblem().filter((run) => state.selected.has(run.name));
}

/** Returns whether the seeds of a setting share one colour: when they are folded, or when there are many runs. */
export function colouredBySetting() {
  return state.fold || (runsOfProblem().length > 7 && settingsOfProblem().length > 1);
}

/** Returns the number of a run's colour. It depends on what there is, not on what is selected: colours stay. */
export function seriesOf(run) {
  return colouredBySetting()
    ? settingsOfProblem().findIndex((setting) => setting.key === run.setting)
    : runsOfProblem().indexOf(run);
}

/** Returns whether a run matches the pattern: all its words, each part of the run's name or label; * stands for anything. */
export function matches(run, pattern) {
  const setting = state.listing.settings.find((candidate) => candidate.key === run.setting);
  const text = `${run.name} ${setting?.label ?? ""} seed ${run.seed}`.toLowerCase();
  const words = pattern.toLowerCase().split(/\s+/).filter(Boolean);
  return words.every((word) => new RegExp(word.split("*").map(escaped).join(".*")).test(text));
}

function escaped(text) {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
