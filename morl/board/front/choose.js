// The panel on the right: preference, utility, the policy that serves it best, what others trade, how to load it.

import { choice } from "./choice.js";
import { copyText, element, formatted, quoted } from "./dom.js";
import { exportButtons } from "./exporting.js";
import { isFiltered, withLimits } from "./scene.js";
import { change, listen, oncePerFrame, problem, state } from "./state.js";
import { triangle } from "./triangle.js";
import { UTILITIES } from "./utilities.js";

export function choosePanel() {
  const controls = element("div");
  const card = element("div", { class: "card", "aria-live": "polite" });
  const filters = element("div");
  let showFilter = () => {};
  const rebuild = () => {
    controls.replaceChildren(...(problem() ? preferenceControls() : []));
  };
  const rebuildFilters = () => {
    if (!problem()) return;
    const { details, show } = filterControls();
    filters.replaceChildren(details);
    showFilter = show;
  };
  const keys = ["listing", "fronts", "histories", "problem", "selected", "step", "filter", "preference", "utility", "minimum", "picked"];
  listen(["problem", "utility"], rebuild);
  listen(["problem"], rebuildFilters);
  listen(["filter"], () => showFilter());
  listen(keys, oncePerFrame(() => card.replaceChildren(...(problem() ? policyCard(choice()) : []))));
  return element(
    "aside", { class: "panel choose", "aria-label": "Choose a policy" },
    element("h2", {}, "Choose"), controls, card, filters, exportButtons(),
  );
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

function policyCard({ best, alternatives, byHand }) {
  if (!best) {
    const reason = state.utility === "linear_above_minimum" ? "No policy meets these requirements." : "No policy to choose from.";
    return [element("p", { class: "empty" }, reason)];
  }
  const { objectives } = problem();
  const id = best.cloud.policy_ids?.values[best.row];
  const facts = [
    ["Run", best.run.name], ["Policy", id === undefined || id < 0 ? "not said" : String(id)],
    ["Trained for", preferenceText(best)], ["Utility", formatted(best.utility)],
  ];
  return [
    element("h3", {}, byHand ? "Policy picked by hand" : "Serves it best"),
    byHand ? element("button", { class: "quiet", onclick: () => change({ picked: null }) }, "Back to the best one") : null,
    element("dl", { class: "returns" }, objectives.map((name, k) => [element("dt", {}, name), element("dd", {}, formatted(best.returns[k]))])),
    element("dl", { class: "facts" }, facts.map(([name, value]) => [element("dt", {}, name), element("dd", { title: value }, value)])),
    ...loadLines(best, byHand),
    alternatives.length ? alternativesTable(best, alternatives, objectives) : null,
  ].filter(Boolean);
}

function preferenceText({ cloud, row }) {
  const weights = cloud.preferences && Array.from(cloud.preferences.values.slice(row * cloud.points.shape[1], (row + 1) * cloud.points.shape[1]));
  return weights?.every(Number.isFinite) ? `(${weights.map((weight) => formatted(weight, 3)).join(", ")})` : "no preference of its own";
}

function alternativesTable(best, alternatives, objectives) {
  const line = (name, cells) => element("tr", {}, element("th", { scope: "row", title: name }, name), cells);
  const pick = ({ run, row }, index) =>
    element("td", {}, element("button", { class: "quiet", "aria-label": `Look at alternative ${index + 1}, of ${run.name}`, title: run.name, onclick: () => change({ picked: { run: run.name, row } }) }, `${index + 2}.`));
  return element(
    "table", { class: "alternatives" },
    element("caption", {}, "What the next best would trade"),
    element("thead", {}, line("", alternatives.map(pick))),
    element(
      "tbody", {},
      objectives.map((name, k) => line(name, alternatives.map((other) => difference(other.returns[k] - best.returns[k])))),
      line("utility", alternatives.map((other) => difference(other.utility - best.utility))),
    ),
  );
}

function difference(value) {
  const text = Math.abs(value) < 1e-9 ? "0" : (value > 0 ? "+" : "") + formatted(value, Math.abs(value) < 0.001 ? 1 : Math.abs(value) < 0.1 ? 2 : 3);
  return element("td", { class: value > 1e-9 ? "gain" : value < -1e-9 ? "loss" : "" }, text);
}

/** Returns the lines that load and evaluate a policy, each with a button that copies it. */
function loadLines(best, byHand) {
  if (state.step !== null) return [element("p", { class: "hint" }, "This is how training stood at an earlier step: a run keeps the policies of its reported front only.")];
  if (!best.run.loadable) return [element("p", { class: "hint" }, "This run's front.json cannot be read: its policies cannot be loaded by preference.")];
  const { rows } = best.cloud;
  const whole = rows.values[rows.values.length - 1] === rows.values.length - 1;
  const byPreference = state.utility === "linear" && !byHand && !isFiltered() && whole;
  const row = rows.values[best.row];
  const folder = best.run.directory;
  const python = `import morl\nrun = morl.load(${JSON.stringify(folder)})\npolicy = run.policy(${byPreference ? `[${state.preference.join(", ")}]` : `row=${row}`})`;
  const shell = `morl evaluate ${quoted(folder)} \\\n  ${byPreference ? `--preference ${state.preference.join(" ")}` : `--row ${row}`} \\\n  --episodes 20`;
  return [copyLine("Python", python), copyLine("Shell", shell)];
}

function copyLine(label, text) {
  const button = element("button", { class: "quiet", "aria-label": `Copy the ${label} line`, onclick: () => copyText(text, button) }, "Copy");
  return element("div", { class: "code" }, element("span", {}, label), button, element("pre", { tabindex: 0 }, text));
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
    updates.push(() => (input.value = Number.isFinite(limits()[side]) ? Number(limits()[side].toPrecision(5)) : ""));
    return input;
  };
  const rows = problem().objectives.map((name, k) =>
    element("div", { class: "limit pair" }, element("span", { title: name }, name), field(name, k, 0, "from"), field(name, k, 1, "to")),
  );
  const clear = element("button", { class: "quiet", onclick: () => change({ filter: [] }) }, "Show all");
  const details = element("details", {}, element("summary", {}, "Filter: drag a box in a chart, or type"), rows, clear);
  const show = () => {
    updates.forEach((update) => update());
    clear.disabled = !isFiltered();
    if (isFiltered()) details.open = true;
  };
  show();
  return { details, show };
}
