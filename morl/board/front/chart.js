// The chart in the middle: draws the view that is chosen, marks policies in it, and turns gestures into filters.

import { choice, neighbour } from "./choice.js";
import { element } from "./dom.js";
import * as matrix from "./matrix.js";
import * as parallel from "./parallel.js";
import * as plane from "./plane.js";
import { clouds, groups, isFiltered, ranges, withLimits } from "./scene.js";
import { sketch } from "./sketch.js";
import * as space from "./space.js";
import { change, listen, oncePerFrame, problem, selectedRuns, state } from "./state.js";
import { chartOptions, isDark, watchTheme } from "./theme.js";
import { hideTooltip, showTooltip } from "./tooltip.js";

/** View name -> its label, the numbers of objectives that it can show, and the module that draws it. */
export const VIEWS = {
  plane: { label: "Scatter", fits: (objectives) => objectives === 2, draws: plane },
  space: { label: "3-D scatter", fits: (objectives) => objectives === 3, draws: space },
  parallel: { label: "Parallel coordinates", fits: (objectives) => objectives >= 2, draws: parallel },
  matrix: { label: "Scatter matrix", fits: (objectives) => objectives >= 3 && objectives <= 9, draws: matrix },
};

/** Returns the views that can show a number of objectives, the best one first. */
export function viewsFor(objectives) {
  return Object.keys(VIEWS).filter((name) => VIEWS[name].fits(objectives));
}

/** Returns the section of the chart. It sketches the first picture, and draws with Plotly once that is loaded. */
export function chart(loadPlotly) {
  const plot = element("div", { class: "plot", role: "img", tabindex: 0 });
  const empty = element("p", { class: "empty" });
  const canvas = element("canvas", { "aria-hidden": "true" });
  const note = element("p", { class: "chart-note" });
  const drawing = { plot, canvas, note, view: null, items: [], ranges: null, stale: true };
  listenToMouse(drawing);
  plot.addEventListener("keydown", (event) => pressed(drawing, event));
  drawing.draw = oncePerFrame(() => drawScene(drawing, empty));
  let loading = null;
  drawing.load = () => (loading ??= loadPlotly().then(() => change({ plotly: true }), (error) => change({ error: error.message })));
  listen(["listing", "fronts", "histories", "folds", "problem", "selected", "fold", "view", "step", "filter", "error", "plotly"], drawing.draw);
  listen(["listing", "histories", "fronts", "problem", "selected"], () => (drawing.stale = true));
  listen(["preference", "utility", "minimum", "picked", "normalized", "compared"], oncePerFrame(() => drawing.view && mark(drawing)));
  watchTheme(drawing.draw);
  return element("section", { class: "chart", "aria-label": "Fronts" }, canvas, plot, empty, note);
}

function drawScene(drawing, empty) {
  const shown = problem() && (state.plotly || state.view !== "space") ? clouds() : [];
  empty.textContent = shown.length ? "" : reasonForNothing();
  empty.hidden = shown.length > 0;
  drawing.plot.hidden = shown.length === 0;
  drawing.canvas.hidden ||= shown.length === 0;
  if (!shown.length) {
    if (state.loaded && (state.view === "space" || !problem() || hasNoPoints())) drawing.load();
    return;
  }
  if (!drawing.first) {
    drawing.first = true;
    afterThisFrame(() => {
      performance.mark("first picture");
      drawing.load();
    });
  }
  if (drawing.stale) drawing.ranges = ranges();
  drawing.stale = false;
  const scene = { clouds: shown, groups: groups(shown), ranges: drawing.ranges, objectives: problem().objectives, problem: problem() };
  const figure = VIEWS[state.view].draws.figure(scene);
  drawing.note.textContent = state.error || figure.painted?.note || loneliness(shown);
  drawing.plot.setAttribute("aria-label", `Pareto fronts of ${shown.length} runs. ${state.view === "space" ? space.KEYS : "Arrow keys show one policy after the other."}`);
  if (state.plotly) {
    drawFigure(drawing, scene, figure);
  } else {
    drawing.canvas.hidden = false;
    sketch(drawing.canvas, figure);
  }
}

/** Calls back once the browser has shown what is being drawn. */
function afterThisFrame(callback) {
  requestAnimationFrame(() => setTimeout(callback));
}

function drawFigure(drawing, scene, { traces, layout, items, painted, fixed }) {
  if (drawing.view !== state.view) {
    if (drawing.view) Plotly.purge(drawing.plot);
    drawing.plot.replaceChildren();
    drawing.view = state.view;
    drawing.listening = false;
  }
  drawing.items = items; // trace number -> point number -> [cloud, row]
  drawing.painted = painted ?? null; // points that are too many for elements of their own
  drawing.scene = scene;
  // Where all points are painted, nothing of Plotly's own may have changed but the marks: a slider then need not wait.
  const frame = fixed ? JSON.stringify([state.view, state.problem, state.filter, drawing.ranges, isDark()]) : null;
  const unchanged = frame !== null && frame === drawing.frame;
  drawing.frame = frame;
  if (unchanged) {
    drawing.repaint = true;
    paint(drawing);
    mark(drawing);
    return;
  }
  drawing.base = layout.shapes?.length ?? 0; // how many shapes are not marks
  layout.shapes = [...(layout.shapes ?? []), ...marks(scene)];
  drawing.repaint = true;
  Plotly.react(drawing.plot, traces, layout, chartOptions(state.view === "space", !painted));
  if (!drawing.listening) listenToChart(drawing);
  VIEWS[state.view].draws.markInside?.(drawing.plot, marked());
}

function reasonForNothing() {
  if (state.error) return state.error;
  if (!state.loaded) return "Loading …";
  if (!problem()) return reasonForNoRuns();
  if (!state.selected.size) return "No run is selected. Tick one in the list.";
  if (state.step === null && hasNoPoints()) return "The front has no point yet.";
  if (!state.plotly) return "Loading …";
  if (state.step !== null) return "No selected run had a front at this step yet.";
  if (state.fold) return "This page has the seeds of a setting folded all together only: select all of them, or none.";
  return "Loading …";
}

/** Returns whether all selected fronts are there, and empty. */
function hasNoPoints() {
  return selectedRuns().every((run) => state.fronts[run.name]?.points.shape[0] === 0);
}

function reasonForNoRuns() {
  const { others, logdir } = state.listing;
  if (others.length) return `No run has a front yet: the first evaluation makes one. ${others.length} without a front in the list on the left.`;
  return logdir ? `There are no runs in ${logdir} yet: morl train AGENT ENV --run-dir FOLDER starts one.` : "There are no runs to show.";
}

/** Returns a sentence where every front is a single point; nothing otherwise. */
function loneliness(shown) {
  if (shown.some(({ points }) => points.shape[0] !== 1)) return "";
  return shown.length === 1 ? "This front is a single point: there is no trade-off yet." : "Each front is a single point: there is no trade-off within a run yet.";
}

/** Returns the chosen policy and its alternatives; the pair that the user is asked about instead of these. */
function marked() {
  return state.compared?.pair.length ? { ...choice(), alternatives: state.compared.pair } : choice();
}

/** Returns the shapes that mark the chosen policy and its alternatives; none in 3-D, which marks inside the scene. */
function marks(scene) {
  return VIEWS[state.view].draws.marks?.(scene, marked()) ?? [];
}

/** Moves the marks alone: shapes are redrawn without touching the points. */
function mark(drawing) {
  const draws = VIEWS[state.view].draws;
  if (!drawing.scene || drawing.plot.hidden) return;
  if (drawing.scene.objectives.length !== problem().objectives.length) return; // the picture of another problem, about to be replaced
  if (draws.markInside) draws.markInside(drawing.plot, marked());
  else {
    const fixed = drawing.plot.layout.shapes.slice(0, drawing.base);
    Plotly.relayout(drawing.plot, { shapes: [...fixed, ...marks(drawing.scene)] });
  }
}

/** Painted points have no events of their own. */
function listenToMouse(drawing) {
  const showNearest = (event) => {
    if (!drawing.painted) return;
    const item = event.buttons ? null : drawing.painted.nearest(drawing.plot, event);
    item ? showTooltip(item, event) : hideTooltip();
  };
  drawing.plot.addEventListener("mousemove", showNearest);
  drawing.plot.addEventListener("mouseleave", hideTooltip);
  drawing.plot.addEventListener("click", (event) => pick(drawing.painted?.nearest(drawing.plot, event)));
}

/** Turns a 3-D scatter; elsewhere walks through the policies, in the order of the first objective. */
function pressed(drawing, event) {
  const forward = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
  if (!forward || !drawing.view) return;
  event.preventDefault();
  if (state.view === "space") space.turn(drawing.plot, event.key);
  else {
    const policy = neighbour(forward);
    if (policy) change({ picked: policy });
  }
}

function pick(item) {
  if (item?.[0].run) change({ picked: { run: item[0].run.name, row: item[1] } });
}

/** Paints after Plotly has laid out the axes; not again when it has only moved shapes. */
function paint(drawing) {
  const axes = Object.entries(drawing.plot._fullLayout).filter(([name]) => /^[xy]axis/.test(name));
  const place = JSON.stringify(axes.map(([, axis]) => [axis.range, axis._offset, axis._length]));
  if (!drawing.repaint && place === drawing.place) return;
  [drawing.repaint, drawing.place] = [false, place];
  drawing.canvas.hidden = !drawing.painted;
  drawing.painted?.draw(drawing.canvas, drawing.plot);
}

function listenToChart(drawing) {
  drawing.listening = true;
  drawing.plot.on("plotly_afterplot", () => paint(drawing));
  paint(drawing);
  const found = (event) => drawing.items[event.points[0].curveNumber]?.(event.points[0].pointNumber);
  drawing.plot.on("plotly_hover", (event) => {
    const item = found(event);
    if (item) showTooltip(item, event.event);
  });
  drawing.plot.on("plotly_unhover", hideTooltip);
  drawing.plot.on("plotly_click", (event) => pick(found(event)));
  drawing.plot.on("plotly_selected", (event) => {
    if (!event?.range) return;
    // The filter is drawn by the views, and typed in the panel; Plotly would fade every point outside its selection.
    Plotly.update(drawing.plot, { selectedpoints: null }, { selections: [] });
    const limits = VIEWS[state.view].draws.limits?.(event.range, drawing.scene);
    if (limits) change({ filter: withLimits(limits) });
  });
  drawing.plot.on("plotly_doubleclick", () => isFiltered() && change({ filter: [] }));
}
