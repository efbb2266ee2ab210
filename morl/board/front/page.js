// Builds the page from its panels.

import { offline } from "./api.js";
import { chart, VIEWS, viewsFor } from "./chart.js";
import { choosePanel } from "./choose.js";
import { comparePanel } from "./compare.js";
import { begin, firstSelection, loadFolded, loadSelected } from "./data.js";
import { copyText, element, quoted } from "./dom.js";
import { filmStrip, sideBySide } from "./films.js";
import { curvesPanel, indicatorsTable, timeSlider } from "./follow.js";
import { runsPanel } from "./runs.js";
import { change, listen, problem, selectedRuns, state } from "./state.js";
import { tooltip } from "./tooltip.js";

/** Builds the page and begins to load; `loadPlotly` is called when there is something to draw with it. */
export async function build(loadPlotly) {
  document.body.append(
    runsPanel(showProblem),
    element(
      "main",
      {},
      toolbar(),
      comparePanel(),
      chart(loadPlotly),
      timeSlider(),
      filmStrip(),
      sideBySide(),
      curvesPanel(),
      indicatorsTable(),
      sharePanel(),
    ),
    choosePanel(),
    tooltip(),
  );
  listen(["listing", "selected", "problem"], loadSelected);
  listen(["fold", "step"], loadFolded);
  await begin(showProblem);
}

function showProblem(key) {
  const { objectives } = state.listing.problems.find((candidate) => candidate.key === key);
  change({
    problem: key, selected: firstSelection(key), view: viewsFor(objectives.length)[0], step: null, filter: [], picked: null, held: null, minimum: [], normalized: null, folds: {},
    preference: objectives.map(() => Math.round(1000 / objectives.length) / 1000),
  });
}

/** Returns the line above the chart: which view, and whether seeds are folded. */
function toolbar() {
  const views = element("div", { class: "views", role: "radiogroup", "aria-label": "View" });
  const fold = element("input", { id: "fold", type: "checkbox", onchange: () => change({ fold: fold.checked }) });
  const redraw = () => {
    const focused = document.activeElement?.id;
    views.replaceChildren(
      ...viewsFor(problem()?.objectives.length ?? 2).flatMap((name) => [
        element("input", { id: `view-${name}`, type: "radio", name: "view", checked: name === state.view, onchange: () => change({ view: name }) }),
        element("label", { for: `view-${name}` }, VIEWS[name].label),
      ]),
    );
    if (focused?.startsWith("view-")) document.getElementById(focused)?.focus();
  };
  listen(["listing", "problem", "view"], redraw);
  redraw();
  const title = "Combine the seeds of each setting: best, median and worst attainment surface, interquartile means with 95 % intervals";
  return element("div", { class: "row toolbar" }, views, element("label", { for: "fold", title }, fold, " Fold seeds"));
}

/** Returns the command that writes this selection into files to share. */
function sharePanel() {
  const text = element("pre", { tabindex: 0 });
  const button = element("button", { class: "quiet", "aria-label": "Copy the command", onclick: () => copyText(text.textContent, button) }, "Copy");
  const hint = "Writes this page as one file that opens offline, and a figure for print (.pdf, .svg or .png).";
  const section = element(
    "section", { "aria-label": "Share", hidden: true },
    element("h2", {}, "Share"), element("div", { class: "code" }, element("span", {}, hint), button, text),
  );
  listen(["listing", "problem", "selected"], () => {
    section.hidden = offline || selectedRuns().length === 0;
    text.textContent = ["morl front", ...selectedRuns().map((run) => quoted(run.directory)), "--html front.html --plot front.pdf"].join(" \\\n  ");
  });
  return section;
}
