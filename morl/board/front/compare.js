// Choose by comparing: two outcomes at a time, until the answers tell which policy serves the user best. Everything is
// computed here (elicitation.js), so a page without a server can ask too. The session stays in this browser, one for each
// problem, and can be written to a file that `morl choose` reads.

import { choicePoints, extents, isNormalized, commonScales, leastViolation } from "./choice.js";
import { DEFAULTS, FORMAT, Session } from "./elicitation.js";
import { copyLine, element, formatted, quoted, withError } from "./dom.js";
import { saveFile } from "./exporting.js";
import { player, recordingOf } from "./films.js";
import { passes, pointOf, seedClouds } from "./scene.js";
import { change, listen, oncePerFrame, problem, selectedRuns, state } from "./state.js";

const KEYS = { l: "left", ArrowLeft: "left", r: "right", ArrowRight: "right", e: "equal", "=": "equal", n: "neither", u: "undo", Backspace: "undo" };
const WORDS = { left: "Left is better", equal: "Equally good", right: "Right is better", neither: "Neither is acceptable" };
const MOST_COMPARED = 20_000; // points; of more, those that no other beats would take too long to find

let active = null; // { session, policies }: row of the session -> policy

/** Returns the section that asks; it begins folded. */
export function comparePanel() {
  const content = element("div");
  const section = element("section", { class: "compare", "aria-label": "Choose by comparing", tabindex: -1, onkeydown: pressed }, content);
  const redraw = oncePerFrame(() => {
    section.hidden = !problem();
    if (section.hidden) return;
    const focused = section.contains(document.activeElement);
    content.replaceChildren(...(active ? question() : invitation()));
    section.classList.toggle("asking", active !== null);
    if (focused && !section.contains(document.activeElement)) section.focus({ preventScroll: true });
  });
  listen(["problem"], stop);
  listen(["selected", "fronts", "filter", "step"], () => active && begin(active.session.answers));
  listen(["listing", "problem", "selected", "fronts", "filter", "step", "compared", "films"], redraw);
  return section;
}

// --- The session ------------------------------------------------------------------------------------------------------

/** Returns the policies that may be chosen: they pass the filter, break constraints least, and no other beats them. */
function candidates() {
  if (state.step !== null) return [];
  const clouds = seedClouds();
  const least = leastViolation(clouds);
  const open = clouds.flatMap((cloud) => {
    const { shape: [rows, objectives], values } = cloud.points;
    const points = choicePoints(cloud);
    return Array.from({ length: rows }, (_, row) => row)
      .filter((row) => passes(values, row * objectives) && (cloud.violations?.values[row] ?? 0) <= least)
      .map((row) => ({ run: cloud.run, cloud, row, point: pointOf({ points }, row) }));
  });
  return open.length > MOST_COMPARED ? [] : unbeaten(open);
}

/** Returns those policies whose outcome no other exceeds in one objective and reaches in all, in their order. */
function unbeaten(policies) {
  const sum = ({ point }) => point.reduce((total, value) => total + value, 0);
  const sorted = policies.map((policy, place) => ({ policy, place, sum: sum(policy) })).sort((a, b) => b.sum - a.sum || a.place - b.place);
  const kept = [];
  for (const entry of sorted) {
    const { point } = entry.policy;
    if (!kept.some(({ policy: other }) => other.point.every((value, k) => value >= point[k]))) kept.push(entry);
  }
  return kept.sort((a, b) => a.place - b.place).map(({ policy }) => policy);
}

function withReturns({ run, cloud, row }) {
  return { run, cloud, row, returns: pointOf(cloud, row) };
}

/** Begins or goes on: replays answers with what is shown now. */
function begin(answers, settings = active?.session.settings ?? DEFAULTS) {
  const policies = candidates();
  active = policies.length ? { policies, session: new Session(policies.map(({ point }) => point), settings, answers) } : null;
  announce();
}

function stop() {
  active = null;
  change({ compared: null, picked: state.picked }); // the card says why a policy is shown
}

/** Shows the pair and the recommendation in the chart and the card. */
function announce() {
  if (!active) return stop();
  const { session, policies } = active;
  const place = ({ run, row }) => ({ run: run.name, row });
  const recommended = place(policies[session.recommendation.row]);
  const pair = (session.question ?? []).map((row) => withReturns(policies[row]));
  return change({ compared: { pair, recommended }, picked: session.answers.length ? recommended : state.picked });
}

function answer(word) {
  const { session } = active;
  if (word === "undo") {
    if (!session.answers.length) return;
    session.undo();
  } else {
    if (!session.question) return;
    session.answer(word);
  }
  store(session.answers.length ? session.record(problem().objectives) : null);
  announce();
  if (!session.question) setPreference();
}

/** Sets the preference, and the minimum of each objective, with which the recommended policy is best. */
function setPreference() {
  const { utility, weights, minimum } = active.session.preference;
  const scales = isNormalized() ? commonScales().scales : weights.map(() => 1);
  const sizes = weights.map((weight, k) => weight * scales[k]);
  const sum = sizes.reduce((total, size) => total + size, 0);
  change({
    utility: utility === "requirements" ? "linear_above_minimum" : utility,
    preference: sizes.map((size) => Math.round((1000 * size) / sum) / 1000),
    minimum: minimum.map((least) => least && Number(least.toPrecision(4))),
  });
}

function pressed(event) {
  const word = KEYS[event.key];
  if (!active || !word || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea, video")) return;
  event.preventDefault();
  answer(word);
}

// --- Where it is kept -------------------------------------------------------------------------------------------------

function place() {
  return `morl choose|${state.listing.logdir || location.pathname}|${state.problem}`;
}

function store(record) {
  try {
    if (record) localStorage.setItem(place(), JSON.stringify(record));
    else localStorage.removeItem(place());
  } catch {
    // a browser that keeps nothing: the session lives as long as the page
  }
}

/** Returns the session that this browser keeps, or else that of the run folder, where one run alone is selected. */
function stored() {
  try {
    const kept = checked(JSON.parse(localStorage.getItem(place())));
    if (kept) return { record: kept, from: "kept in this browser" };
  } catch {
    // damaged, or not allowed
  }
  const runs = selectedRuns();
  const own = runs.length === 1 ? checked(state.fronts[runs[0].name]?.session) : null;
  return own ? { record: own, from: `of ${runs[0].name}/choose.json` } : null;
}

/** Returns a record that can be replayed with what is shown; null of anything else. */
function checked(record) {
  const { objectives } = problem();
  const isOutcome = (outcome) => Array.isArray(outcome) && outcome.length === objectives.length && outcome.every(Number.isFinite);
  const isAnswer = (entry) => entry && Object.hasOwn(WORDS, entry.answer) && isOutcome(entry.left) && isOutcome(entry.right);
  const fits = record?.format === FORMAT && JSON.stringify(record.objectives) === JSON.stringify(objectives) && Array.isArray(record.answers);
  const { limit, seed, particles, response } = record ?? {};
  const sound = [limit, seed, particles, response?.noise, response?.indifference, response?.lapse].every(Number.isFinite) && particles >= 10 && particles <= 1e5 && response.noise > 0;
  return fits && sound && record.answers.length && record.answers.length <= 1000 && record.answers.every(isAnswer) ? record : null;
}

// --- What is seen -----------------------------------------------------------------------------------------------------

function invitation() {
  const found = stored();
  const focusAfter = (start) => ({ currentTarget }) => {
    const section = currentTarget.closest("section");
    start();
    section.focus({ preventScroll: true });
  };
  const fresh = element("button", { onclick: focusAfter(() => begin([], DEFAULTS)), disabled: state.step !== null }, found ? "Start over" : "Choose by comparing");
  const hint = state.step !== null
    ? "Comparing works with the reported fronts: move the time slider to its end."
    : "Compare two outcomes at a time: after a few answers one policy is recommended.";
  if (!found || state.step !== null) return [element("div", { class: "row" }, fresh, element("span", { class: "hint small" }, hint))];
  const { limit, seed, particles, response, answers } = found.record;
  const resume = element("button", { onclick: focusAfter(() => begin(answers, { limit, seed, particles, response })) }, "Continue comparing");
  return [element("div", { class: "row" }, resume, fresh, element("span", { class: "hint small" }, `${counted(answers.length)}, ${found.from}.`))];
}

function counted(answers) {
  return answers === 1 ? "1 answer" : `${answers} answers`;
}

function question() {
  const { session, policies } = active;
  const pair = session.question;
  const count = session.answers.length;
  const heading = pair ? `Question ${count + 1}: which outcome is better?` : finalHeading();
  const shown = pair ? outcomes(pair.map((row) => policies[row])) : [];
  return [
    element("div", { class: "row" }, element("h2", { class: "grow" }, heading), tools(count)),
    ...shown,
    pair ? answerButtons() : null,
    element("p", { class: "hint small", "aria-live": "polite" }, standing()),
    pair ? null : resultLine(),
  ].filter(Boolean);
}

function tools(count) {
  const name = () => saveFile("choose.json", "application/json", `${JSON.stringify(active.session.record(problem().objectives), null, 1)}\n`);
  return [
    element("button", { class: "quiet", onclick: () => answer("undo"), disabled: !count, title: "U" }, "Undo"),
    element("button", { class: "quiet", onclick: name, disabled: !count, title: "Write choose.json: in the run folder, morl choose continues it" }, "Save"),
    element("button", { class: "quiet", onclick: stop }, "Close"),
  ];
}

function answerButtons() {
  const key = { left: "L", right: "R", equal: "E", neither: "N" };
  const button = (word) => element("button", { class: `answer ${word}`, title: `Key ${key[word]}${word === "left" || word === "right" ? `, or the ${word} arrow key` : ""}`, onclick: () => answer(word) }, WORDS[word], " ", element("kbd", {}, key[word]));
  return element("div", { class: "answers" }, Object.keys(WORDS).map(button));
}

/** Returns the two outcomes beside each other: returns in the objectives' units, the better one marked, and films. */
function outcomes(pair) {
  const extent = extents(seedClouds());
  const films = pair.map(filmOf);
  const line = (name, k) => {
    const values = pair.map(({ point }) => point[k]);
    const equal = Math.abs(values[0] - values[1]) <= extent[k].rounding;
    const cell = (side) => element("td", { class: !equal && values[side] > values[1 - side] ? "better" : "" }, bar(values[side], k), withError(values[side], 0, extent[k]));
    return element("tr", {}, element("th", { scope: "row", title: name }, name), cell(0), cell(1));
  };
  return [
    element(
      "table", { class: "outcomes" },
      element("thead", {}, element("tr", {}, ["", "Left", "Right"].map((text) => element("th", { scope: "col" }, text)))),
      element("tbody", {}, problem().objectives.map(line)),
    ),
    films.some(Boolean) ? element("div", { class: "films" }, films.map((film) => element("div", {}, film ?? element("p", { class: "hint small" }, "Not recorded.")))) : null,
  ].filter(Boolean);
}

/** Returns a bar that shows where a value lies between the lowest and the highest of all policies that may be chosen. */
function bar(value, k) {
  const values = active.policies.map(({ point }) => point[k]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const share = high > low ? (value - low) / (high - low) : 1;
  const inner = element("span", {});
  inner.style.width = `${Math.round(1000 * share) / 10}%`;
  return element("span", { class: "bar", "aria-hidden": "true" }, inner);
}

function percent(share) {
  return `${formatted(100 * share, share < 0.0995 ? 2 : 3)} %`;
}

function standing() {
  const { session, policies } = active;
  const { row, probabilityBest, probabilityWithin, expectedRegret } = session.recommendation;
  if (policies.length === 1) return "There is one policy to choose from.";
  const left = policies.length - session.rows.length;
  const parts = [session.answers.length ? `${counted(session.answers.length)} so far` : "Keys: L, R, E and N answer, U undoes"];
  if (session.answers.length) {
    const limit = percent(session.settings.limit);
    parts.push(`recommended: ${nameOf(policies[row])}`, `the best with probability ${percent(probabilityBest)}, within ${limit} of the best with ${percent(probabilityWithin)}`, `expected regret ${percent(expectedRegret)}`);
  }
  if (left > 0) parts.push(`${formatted(session.rows.length)} of ${formatted(policies.length)} outcomes differ from each other and are compared`);
  return `${parts.join("; ")}.`;
}

function nameOf({ run, cloud, row }) {
  return `row ${cloud.rows?.values[row] ?? row} of ${run.name}`;
}

function finalHeading() {
  const { session } = active;
  const enough = session.recommendation.expectedRegret < session.settings.limit;
  return enough ? "The recommended policy" : "All pairs have been compared: the recommended policy";
}

/** Returns the recommended policy with its reported returns and the line that loads it. */
function resultLine() {
  const { session, policies } = active;
  const policy = withReturns(policies[session.recommendation.row]);
  const extent = extents(seedClouds());
  const returns = problem().objectives.map((name, k) => `${name} ${withError(policy.returns[k], 0, extent[k])}`).join(", ");
  const row = policy.cloud.rows.values[policy.row];
  const line = `morl.load(${JSON.stringify(policy.run.directory)}).policy(row=${row})`;
  const about = session.answers.length ? describedUtility() : "";
  return element(
    "div", { class: "result" }, element("p", {}, element("strong", {}, nameOf(policy)), `: ${returns}`), about ? element("p", { class: "hint small" }, about) : null,
    policy.run.loadable ? copyLine("Python", line) : null,
    policy.run.loadable ? element("p", { class: "hint small" }, `Save writes choose.json; in a terminal, morl choose ${quoted(policy.run.directory)} --session choose.json continues it.`) : null,
  );
}

function describedUtility() {
  const words = { linear: "a weighted sum", tchebycheff: "the worst shortfall (Tchebycheff)", requirements: "a weighted sum above a minimum" };
  return `Your answers fit ${words[active.session.preference.utility]} best; the sliders on the right are set to it.`;
}

/** Returns the film of a policy; null where it has not been recorded. */
function filmOf({ run, row }) {
  const recording = recordingOf(run, row);
  return recording && player(run, recording, `Video of ${run.name}, row ${row}`);
}
