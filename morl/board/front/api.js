// Where the data comes from: TensorBoard's server, or the data inside a self-contained page. Both answer alike.

const embedded = document.getElementById("morl-data");
const inside = embedded && JSON.parse(embedded.textContent);

/** Whether this page has no server behind it. */
export const offline = inside !== null;

let early = offline ? null : ask("runs");
early?.catch(() => {}); // whoever waits for it is told

/** Returns the list of runs, problems and settings. */
export async function loadRuns() {
  if (offline) return inside.runs;
  const answer = early ?? ask("runs");
  early = null;
  return answer;
}

/** Returns the reported fronts of runs by name, their arrays decoded. */
export async function loadFronts(names) {
  const answer = offline ? picked(inside.fronts, names) : await ask("fronts", { runs: names });
  for (const front of Object.values(answer)) {
    for (const key of ["points", "rows", "preferences", "policy_ids", "standard_errors", "choice_points", "violations", "units", "scales"]) {
      front[key] = decoded(front[key]);
    }
  }
  return answer;
}

/** Returns the fronts of runs over training, by name: { steps, fronts }. */
export async function loadHistories(names) {
  const answer = offline ? picked(inside.histories, names) : await ask("histories", { runs: names });
  for (const history of Object.values(answer)) history.fronts = history.fronts.map(decoded);
  return answer;
}

/** Returns what is recorded of runs, by name: { version, sheet, recordings, damaged }. */
export async function loadFilms(names) {
  return offline ? picked(inside.films, names) : ask("films", { runs: names });
}

/** Returns the address of a recorded file of a run. */
export function filmAddress(run, file) {
  return offline ? inside.files[run][file] : `film?${new URLSearchParams({ run, file })}`;
}

/** Returns indicators over training: { runs, settings }. A page without a server folds all seeds of a setting or none. */
export async function loadCurves(names, settings) {
  if (!offline) return ask("curves", { runs: names });
  return { runs: picked(inside.curves.runs, names), settings: complete(inside.curves.settings, names, settings) };
}

/** Returns the seeds of each setting folded into one, at a training step (null: as reported). */
export async function loadFolds(names, step, settings) {
  const at = step === null ? "reported" : String(lastOf(Object.keys(inside?.folds ?? {}).map(Number), step));
  const answer = offline ? complete(inside.folds[at] ?? {}, names, settings) : await ask("folds", { runs: names, step });
  for (const fold of Object.values(answer)) {
    for (const [name, surface] of Object.entries(fold.surfaces)) fold.surfaces[name] = decoded(surface);
  }
  return answer;
}

async function ask(what, question) {
  const request = question && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(question) };
  const response = await fetch(what, request);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? `the server answered ${response.status}`);
  return answer;
}

function picked(table, names) {
  return Object.fromEntries(names.filter((name) => Object.hasOwn(table, name)).map((name) => [name, table[name]]));
}

/** Leaves the folds of those settings whose seeds are all wanted: the browser folds nothing itself. */
function complete(folds, names, settings) {
  const wanted = new Set(names);
  const whole = settings.filter((setting) => setting.runs.every((name) => wanted.has(name)));
  return picked(folds, whole.map((setting) => setting.key));
}

function lastOf(steps, limit) {
  const earlier = steps.filter((step) => step <= limit);
  return earlier.length ? Math.max(...earlier) : Math.min(...steps);
}

const KINDS = { float64: Float64Array, float32: Float32Array, int32: Int32Array };

/** Returns { shape, values } of an array that came as base64; one that is decoded already as it is. */
export function decoded(array) {
  if (!array || array.values) return array;
  const kind = Object.keys(KINDS).find((name) => name in array);
  const letters = atob(array[kind]);
  const bytes = new Uint8Array(letters.length);
  for (let place = 0; place < bytes.length; place++) bytes[place] = letters.charCodeAt(place);
  return { shape: array.shape, values: new KINDS[kind](bytes.buffer) };
}
