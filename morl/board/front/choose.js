// The panel on the right: preference, utility, the policy that serves it best, what others trade, how to load it.

import { CHOICE_KEYS, choice, commonScales, extents, isNormalized, rowOfRun, utilityArguments } from "./choice.js";
import { copyLine, element, formatted, quoted, withError } from "./dom.js";
import { exportButtons } from "./exporting.js";
import { cardFilm } from "./films.js";
import { isFiltered, seedClouds, withLimits } from "./scene.js";
import { change, listen, oncePerFrame, problem, state } from "./state.js";
import { triangle } from "./triangle.js";
import { UTILITIES } from "./utilities.js";

export function choosePanel() {
  const controls = element("div");
  const empty = element("p", { class: "empty" }, "The best policy for a preference is shown here once a run has a front.");
  const exports = exportButtons();
  const normalize = normalizeSwitch();
  const facts = element("div", { "aria-live": "polite" });
  const [film, foot] = cardFilm();
  const card = element("div", { class: "card" }, film, facts, foot);
  const filters = element("div");
  let showFilter = () => {};
  const rebuild = () => {
    controls.replaceChildren(...(problem() ? preferenceControls() : []));
  };
  const hide = () => {
    empty.hidden = Boolean(problem());
    card.hidden = filters.hidden = exports.hidden = normalize.hidden = !problem();
  };
  const rebuildFilters = () => {
    if (!problem()) return;
    const { details, show } = filterControls();
    filters.replaceChildren(details);
    showFilter = show;
  };
  listen(["problem", "utility"], rebuild);
  listen(["problem"], rebuildFilters);
  listen(["filter"], () => showFilter());
  listen(["listing", "problem"], hide);
  hide();
  listen(CHOICE_KEYS, oncePerFrame(() => facts.replaceChildren(...(problem() ? policyCard(choice()) : []))));
  return element(
    "aside", { class: "panel choose", "aria-label": "Choose a policy" },
    element("h2", {}, "Choose"), empty, controls, normalize, card, filters, exports,
  );
}

/** Returns the switch that has weights count returns in scales, and what one unit of each objective then is. */
function normalizeSwitch() {
  const box = element("input", { id: "normalized", type: "checkbox", onchange: () => change({ normalized: box.checked, picked: null }) });
  const hint = element("p", { class: "hint small" });
  const redraw = oncePerFrame(() => {
    if (!problem()) return;
    box.checked = isNormalized();
    const { scales, given } = commonScales();
    const units = problem().objectives.map((name, k) => `${formatted(scales[k], 3)} ${name}`).join(", ");
    const source = given ? "as the environment states" : "the range of the points shown";
    hint.textContent = box.checked ? `Equally valuable: ${units} (${source}).` : "Weights apply to returns as they are.";
  });
  listen(["listing", "fronts", "problem", "selected", "normalized"], redraw);
  const title = "Divide returns by equally valuable amounts of the objectives before weights apply";
  return element("div", { class: "switch" }, element("label", { for: "normalized", title }, box, " Normalize objectives"), hint);
}

/** Moves one weight; the others keep their proportions and share the rest. */
export function movedPreference(preference, k, weight) {
  const others = preference.reduce((sum, value, index) => sum + (index === k ? 0 : value), 0);
  const rest = 1 - weight;
  const moved = preference.map((value, index) => {
    if (index === k) return weight;
    return others > 0 ? (rest * value) / others : rest / (preference.length - 1);
  });
  return moved.map((value) => Math.round(1000 * value) / 1000);
}

function preferenceControls() {
  const { objectives } = problem();
  const update = [];
  const show = () => update.forEach((callback) => callback());
  const set = (preference) => {
    change({ preference, picked: null });
    show();
  };
  const sliders = objectives.map((name, k) => {
    const id = `weight-${k}`;
    const output = element("output", { for: id });
    const slider = element("input", {
      id, type: "range", min: 0, max: 1, step: 0.01,
      oninput: () => set(movedPreference(state.preference, k, Number(slider.value))),
    });
    update.push(() => {
      if (Number(slider.value) !== state.preference[k]) slider.value = state.preference[k];
      output.textContent = state.preference[k].toFixed(2);
    });
    return element("div", { class: "weight" }, element("label", { for: id, title: name }, name), slider, output);
  });
  const corner = objectives.length === 3 ? triangle(objectives, () => state.preference, set, update) : null;
  const select = element(
    "select", { id: "utility", onchange: () => change({ utility: select.value, picked: null }) },
    Object.entries(UTILITIES).map(([name, { label }]) => element("option", { value: name, selected: name === state.utility }, label)),
  );
  show();
  return [
    element("fieldset", {}, element("legend", {}, "Preference"), corner, sliders),
    element("label", { class: "stacked", for: "utility" }, "Utility", select),
    state.utility === "linear_above_minimum" ? minimumControls(objectives) : null,
  ].filter(Boolean);
}

function minimumControls(objectives) {
  const inputs = objectives.map((name, k) => {
    const id = `minimum-${k}`;
    const input = element("input", {
      id, type: "number", step: "any", placeholder: "none", value: state.minimum[k] ?? "",
      oninput: () => change({ minimum: objectives.map((_, index) => (index === k ? numberOf(input) : state.minimum[index] ?? null)), picked: null }),
    });
    return element("div", { class: "limit" }, element("label", { for: id }, `${name} ≥`), input);
  });
  return element("fieldset", {}, element("legend", {}, "Minimum requirements"), inputs);
}

function numberOf(input) {
  return input.value.trim() === "" || Number.isNaN(Number(input.value)) ? null : Number(input.value);
}

/** Returns a number as a field shows it: few digits, with an exponent where it is very large or small. */
function typed(value) {
  const short = Number(value.toPrecision(5));
  return short !== 0 && (Math.abs(short) >= 1e7 || Math.abs(short) < 1e-4) ? short.toExponential() : String(short);
}

function policyCard({ best, alternatives, byHand }) {
  if (!best) {
    const reason = state.utility === "linear_above_minimum" ? "No policy meets these requirements." : "No policy to choose from.";
    return [element("p", { class: "empty" }, reason)];
  }
  const { objectives } = problem();
  const id = best.cloud.policy_ids?.values[best.row];
  const extent = extents(seedClouds());
  const errors = rowOf(best.cloud.standard_errors, best.row);
  const facts = [
    ["Run", best.run.name], ["Policy", id === undefined || id < 0 ? "unknown" : String(id)],
    ["Its preference", preferenceText(best)], ["Utility", formatted(reportedUtility(best))],
  ];
  return [
    element("h3", {}, byHand ? (isRecommended(best) ? "Recommended by your answers" : "Policy selected by hand") : "Best policy for this preference"),
    byHand ? element("button", { class: "quiet", onclick: () => change({ picked: null }) }, "Back to the best policy") : null,
    element("dl", { class: "returns" }, objectives.map((name, k) => [element("dt", { title: name }, name), element("dd", { title: String(best.returns[k]) }, withError(best.returns[k], errors?.[k], extent[k]))])),
    element("dl", { class: "facts" }, facts.map(([name, value]) => [element("dt", {}, name), element("dd", { title: value }, value)])),
    best.cloud.choice_points ? element("p", { class: "hint small" }, "Selected by its returns in other episodes than those reported here: the highest of several noisy returns is usually too high.") : null,
    missesMinimum(best) ? element("p", { class: "note" }, "It met every minimum in the episodes that selected it, but misses one in the episodes reported here.") : null,
    ...loadLines(best, byHand),
    alternatives.length ? alternativesTable(best, alternatives, objectives, extent) : null,
  ].filter(Boolean);
}

/** Returns whether a policy is the one that the answers to comparisons recommend. */
function isRecommended({ run, row }) {
  return state.compared?.recommended.run === run.name && state.compared.recommended.row === row;
}

/** Returns one row of a table { shape, values }; null without one. */
function rowOf(table, row) {
  return table ? Array.from(table.values.slice(row * table.shape[1], (row + 1) * table.shape[1])) : null;
}

/** Returns the utility of the returns that are reported. */
function reportedUtility({ returns }) {
  const given = { ...utilityArguments(seedClouds()), minimum: returns.map(() => -Infinity) };
  return UTILITIES[state.utility].of({ shape: [1, returns.length], values: returns }, given)[0];
}

function missesMinimum({ returns }) {
  return state.utility === "linear_above_minimum" && returns.some((value, k) => value < (state.minimum[k] ?? -Infinity));
}

function preferenceText({ cloud, row }) {
  const weights = rowOf(cloud.preferences, row);
  if (!weights?.every(Number.isFinite)) return "no preference of its own";
  const text = `(${weights.map((weight) => formatted(weight, 3)).join(", ")})`;
  const units = Array.from(cloud.units?.values ?? []);
  return units.some((unit) => unit !== 1) ? `${text} in units of (${units.map((unit) => formatted(unit, 3)).join(", ")})` : text;
}

function alternativesTable(best, alternatives, objectives, extent) {
  const line = (name, cells, unit = null) => element("tr", {}, element("th", { scope: "row", title: name }, name, unit), cells);
  const pick = ({ run, row }, index) =>
    element("td", {}, element("button", { class: "quiet", "aria-label": `Look at alternative ${index + 1}, of ${run.name}`, title: run.name, onclick: () => change({ picked: { run: run.name, row } }) }, `${index + 2}.`));
  return element(
    "table", { class: "alternatives" },
    element("caption", {}, best.cloud.choice_points ? "What the next best policies gain and lose (utility: in the episodes that select)" : "What the next best policies gain and lose"),
    element("thead", {}, line("", alternatives.map(pick))),
    element(
      "tbody", {},
      objectives.map((name, k) => differences(line, name, alternatives.map((other) => other.returns[k] - best.returns[k]), extent[k].rounding)),
      differences(line, "utility", alternatives.map((other) => other.utility - best.utility), 1e-13 * Math.abs(best.utility)),
    ),
  );
}

/** Returns a line of differences, rounding errors as 0; very large or small ones share a power of ten. */
function differences(line, name, values, rounding) {
  const most = Math.max(...values.map(Math.abs).filter((value) => value > rounding), 0);
  const power = most >= 1e5 || (most > 0 && most < 1e-3) ? Math.floor(Math.log10(most)) : 0;
  const cells = values.map((value) => {
    const equal = Math.abs(value) <= rounding;
    const shown = power ? value / 10 ** power : value;
    const text = equal ? "0" : (value > 0 ? "+" : "") + formatted(shown, Math.abs(shown) < 0.001 ? 1 : Math.abs(shown) < 0.1 ? 2 : 3);
    return element("td", { class: equal ? "" : value > 0 ? "gain" : "loss", title: String(value) }, text);
  });
  return line(name, cells, power ? element("span", { class: "interval" }, `in 1${`e${power}`.replace("-", "−")}`) : null);
}

/** Returns the lines that load and evaluate a policy, each with a button that copies it. */
function loadLines(best, byHand) {
  if (state.step !== null) return [element("p", { class: "hint" }, "This is the front at an earlier step: a run keeps only the policies of its reported front.")];
  if (!best.run.loadable) return [element("p", { class: "hint" }, "This run's front.json cannot be read, so its policies cannot be loaded by preference.")];
  const { rows } = best.cloud;
  const whole = rows.values[rows.values.length - 1] === rows.values.length - 1;
  const chosen = rowOfRun(best.cloud);
  const byPreference = state.utility === "linear" && !byHand && !isFiltered() && whole && chosen.row === best.row;
  const row = rows.values[best.row];
  const folder = best.run.directory;
  const normalized = chosen.byDefault ? "" : `, normalized=${isNormalized() ? "True" : "False"}`;
  const python = `import morl\nrun = morl.load(${JSON.stringify(folder)})\npolicy = run.policy(${byPreference ? `[${state.preference.join(", ")}]${normalized}` : `row=${row}`})`;
  const shell = `morl evaluate ${quoted(folder)} \\\n  ${byPreference && chosen.byDefault ? `--preference ${state.preference.join(" ")}` : `--row ${row}`} \\\n  --episodes 20`;
  return [copyLine("Python", python), copyLine("Shell", shell)];
}

/** Returns the limits of each objective as numbers to type, and a function that shows the filter in them. */
function filterControls() {
  const updates = [];
  const field = (name, k, side, label) => {
    const open = side ? Infinity : -Infinity;
    const limits = () => state.filter[k] ?? [-Infinity, Infinity];
    const input = element("input", {
      type: "number", step: "any", "aria-label": `${label} ${name}`, placeholder: label,
      onchange: () => {
        const changed = limits().with(side, numberOf(input) ?? open);
        change({ filter: withLimits({ [k]: changed.every((value) => !Number.isFinite(value)) ? null : changed }) });
      },
    });
    updates.push(() => (input.value = Number.isFinite(limits()[side]) ? typed(limits()[side]) : ""));
    return input;
  };
  const rows = problem().objectives.map((name, k) =>
    element("div", { class: "limit pair" }, element("span", { title: name }, name), field(name, k, 0, "from"), field(name, k, 1, "to")),
  );
  const clear = element("button", { class: "quiet", onclick: () => change({ filter: [] }) }, "Show all");
  const details = element("details", {}, element("summary", {}, "Filter: drag a box in a chart, or type limits"), rows, clear);
  const show = () => {
    updates.forEach((update) => update());
    clear.disabled = !isFiltered();
    if (isFiltered()) details.open = true;
  };
  show();
  return { details, show };
}
