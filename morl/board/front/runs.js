// The panel on the left: problems, settings and their seeds, to be ticked or found by a pattern.

import { elided, element, formatted } from "./dom.js";
import { bounds } from "./scene.js";
import { change, colouredBySetting, listen, matches, oncePerFrame, problem, runsOfProblem, seriesOf, settingsOfProblem, state } from "./state.js";
import { swatch } from "./swatch.js";
import { watchTheme } from "./theme.js";

export function runsPanel(showProblem) {
  const problems = element("select", { id: "problem", onchange: () => showProblem(problems.value) });
  const pattern = element("input", { id: "pattern", type: "search", placeholder: "name, agent, seed 1, lr*0.001", oninput: () => change({ pattern: pattern.value }) });
  const facts = element("p", { class: "facts-line" });
  const list = element("div", { class: "runs" });
  const others = element("details", { class: "others" });
  const redraw = oncePerFrame(() => {
    drawProblems(problems, facts);
    drawKeepingFocus(list);
    drawOthers(others);
  });
  listen(["listing", "fronts", "problem", "selected", "pattern", "fold", "view"], redraw);
  watchTheme(redraw);
  const matching = () => runsOfProblem().filter((run) => matches(run, state.pattern)).map((run) => run.name);
  return element(
    "aside", { class: "panel select", "aria-label": "Select runs" },
    element("label", { class: "stacked", for: "problem" }, "Problem", problems), facts,
    element("label", { class: "stacked", for: "pattern" }, "Find runs", pattern),
    element(
      "div", { class: "row" },
      element("button", { onclick: () => change({ selected: new Set([...state.selected, ...matching()]) }) }, "Add these"),
      element("button", { onclick: () => change({ selected: new Set(matching()) }) }, "Only these"),
      element("button", { onclick: () => change({ selected: new Set() }) }, "None"),
    ),
    list, others,
  );
}

function drawProblems(select, facts) {
  select.replaceChildren(
    ...state.listing.problems.map((each) => {
      const selected = each.key === state.problem;
      return element("option", { value: each.key, selected, title: each.label }, each.label);
    }),
  );
  const shown = problem();
  facts.textContent = shown
    ? `${shown.objectives.length} objectives, higher is better; returns discounted by ${formatted(shown.discount)}${shown.known_front ? "; known front in gray" : ""}${boundsSaid()}`
    : "";
}

function boundsSaid() {
  const texts = bounds().map(({ objective, text }) => `${problem().objectives[objective]} ${text}`);
  return texts.length ? `; dashed: ${texts.join(", ")} (constraints; shaded: violated)` : "";
}

function drawKeepingFocus(list) {
  const focused = list.contains(document.activeElement) ? document.activeElement.id : null;
  const groups = settingsOfProblem().map(settingGroup).filter(Boolean);
  list.replaceChildren(...groups);
  if (!groups.length) list.append(element("p", { class: "empty" }, runsOfProblem().length ? `No run matches “${state.pattern}”.` : state.loaded ? "No run with a front yet." : "Loading …"));
  if (focused) document.getElementById(focused)?.focus();
}

function settingGroup(setting, index) {
  const seeds = state.listing.runs.filter((run) => run.setting === setting.key && matches(run, state.pattern));
  if (!seeds.length) return null;
  const chosen = seeds.filter((run) => state.selected.has(run.name)).length;
  const box = element("input", {
    id: `setting-${index}`, type: "checkbox", checked: chosen === seeds.length,
    onchange: () => select(seeds.map((run) => run.name), box.checked),
  });
  box.indeterminate = chosen > 0 && chosen < seeds.length;
  const picture = colouredBySetting() ? swatch(index) : null;
  const folder = sharedFolder(seeds.map((run) => run.name));
  return element(
    "div", { class: "setting" },
    element("label", { class: "setting-name", title: setting.label }, box, picture, element("span", { class: "label" }, setting.label)),
    folder ? element("p", { class: "folder", title: folder }, elided(folder)) : null,
    seeds.map((run, number) => runLine(run, `${index}-${number}`, run.name.slice(folder.length))),
  );
}

/** Returns the folder, with a slash behind it, that the names of all runs begin with; empty where there is none. */
function sharedFolder(names) {
  let folder = names[0].slice(0, names[0].lastIndexOf("/") + 1);
  while (folder && !names.every((name) => name.startsWith(folder))) folder = folder.slice(0, folder.slice(0, -1).lastIndexOf("/") + 1);
  return folder;
}

function runLine(run, id, shortName) {
  const box = element("input", { id: `run-${id}`, type: "checkbox", checked: state.selected.has(run.name), onchange: () => select([run.name], box.checked) });
  const volume = run.indicators.hypervolume;
  return element(
    "div", { class: "run" },
    element(
      "label", { title: run.name }, box, colouredBySetting() ? null : swatch(seriesOf(run)),
      elided(shortName, { title: run.name }),
    ),
    element("span", { class: "number", title: "hypervolume" }, volume === undefined ? "" : formatted(volume, 4)),
    run.notes.map((note) => element("p", { class: "note" }, note)),
  );
}

function select(names, add) {
  const selected = new Set(state.selected);
  for (const name of names) add ? selected.add(name) : selected.delete(name);
  change({ selected });
}

function drawOthers(details) {
  const { others } = state.listing;
  details.hidden = others.length === 0;
  const summary = details.querySelector("summary") ?? element("summary"); // the same one: it keeps the focus
  summary.textContent = `${others.length} without a front`;
  const lines = details.querySelector("div") ?? element("div");
  if (!summary.parentElement) details.append(summary, lines);
  lines.replaceChildren(
    ...others.map(({ name, notes }) => element("div", { class: "run" }, elided(name), notes.map((note) => element("p", { class: "note" }, note)))),
  );
}
