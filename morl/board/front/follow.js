// Below the chart: the slider over training time, indicator curves, and the table of indicators.

import { elided, element, formatted, inWords, picture } from "./dom.js";
import { LARGEST_DRAWN, SMALLEST_DRAWN } from "./scene.js";
import { change, listen, oncePerFrame, problem, selectedRuns, seriesOf, settingsOfProblem, state, whenStill } from "./state.js";
import { swatch } from "./swatch.js";
import { axisLayout, chartLayout, chartOptions, colours, faded, look, watchTheme } from "./theme.js";

const MOST_POSITIONS = 200;
const CURVES = ["hypervolume", "expected_utility", "sparsity", "cardinality"];
const CLOCKS = ["training_steps", "environment_steps", "wall_seconds"];
const MOST_DASHED = 16; // curves; of more, dashes would be a blur
const PLAY_MILLISECONDS = 350;
const DIRECTION = {
  hypervolume: "up", expected_utility: "up", normalized_expected_utility: "up", cardinality: "up", igd_plus: "down", maximum_utility_loss: "down", sparsity: "down",
};
const narrow = window.matchMedia("(max-width: 1000px)");

export function timeSlider() {
  const slider = element("input", { id: "time", type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": "Training time", oninput: () => show(Number(slider.value)) });
  const output = element("output", { for: "time" });
  const play = element("button", { onclick: toggle, "aria-label": "Replay training" }, picture("play"), " Replay");
  let steps = [];
  let timer = null;

  function show(position) {
    change({ step: position >= steps.length ? null : steps[position], picked: null });
  }
  function toggle() {
    if (timer) return stop();
    if (state.step === null) show(0);
    play.replaceChildren(picture("pause"), " Pause");
    timer = setInterval(() => (Number(slider.value) >= steps.length ? stop() : show(Number(slider.value) + 1)), PLAY_MILLISECONDS);
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    play.replaceChildren(picture("play"), " Replay");
  }
  const redraw = oncePerFrame(() => {
    steps = stepsToShow();
    slider.max = steps.length;
    slider.disabled = play.disabled = steps.length === 0;
    slider.value = state.step === null ? steps.length : steps.filter((step) => step <= state.step).length - 1;
    output.textContent = state.step === null ? "reported front (best evaluation)" : `step ${state.step.toLocaleString("en-US")}`;
    slider.setAttribute("aria-valuetext", output.textContent);
  });
  listen(["histories", "selected", "problem", "step"], redraw);
  return element("div", { class: "row time" }, play, slider, output);
}

function stepsToShow() {
  const all = [...new Set(selectedRuns().flatMap((run) => state.histories[run.name]?.steps ?? []))].sort((a, b) => a - b);
  const every = Math.ceil(all.length / MOST_POSITIONS) || 1;
  return all.filter((_, index) => (all.length - 1 - index) % every === 0);
}

export function curvesPanel() {
  const plot = element("div", { class: "curves", role: "img", "aria-label": "Indicators over training" });
  const empty = element("p", { class: "empty" });
  const clock = element(
    "select", { id: "clock", onchange: () => change({ clock: clock.value }) },
    CLOCKS.map((name) => element("option", { value: name }, inWords(name))),
  );
  const redraw = oncePerFrame(() => drawCurves(plot, empty));
  listen(["curves", "selected", "problem", "fold", "clock", "plotly"], redraw);
  listen(["step"], whenStill(() => plot.layout && !plot.hidden && Plotly.relayout(plot, { shapes: timeLine() })));
  watchTheme(redraw);
  narrow.addEventListener("change", redraw);
  return element(
    "section", { "aria-label": "Indicators over training" },
    element("div", { class: "row" }, element("h2", { class: "grow" }, "Over training"), element("label", { for: "clock" }, "over ", clock)), plot, empty,
  );
}

/** Returns the series that are drawn: { number, curves: [{ x, indicators }], interval }. */
function series() {
  const shown = new Set(selectedRuns().map((run) => run.name));
  const made = new Map();
  const add = (number, curve) => made.set(number, [...(made.get(number) ?? []), curve]);
  for (const run of selectedRuns()) {
    const curve = state.curves.runs[run.name];
    const folded = state.fold && state.curves.settings[run.setting];
    if (curve?.training_steps.length && !folded) add(seriesOf(run), curve);
  }
  for (const [number, setting] of settingsOfProblem().entries()) {
    const curve = state.fold && state.curves.settings[setting.key];
    if (curve && setting.runs.some((name) => shown.has(name))) add(number, curve);
  }
  return made;
}

function drawCurves(plot, empty) {
  const drawn = state.plotly ? series() : new Map();
  plot.hidden = drawn.size === 0;
  empty.hidden = drawn.size > 0;
  empty.textContent = reasonForNoCurves();
  if (!drawn.size) return;
  const names = CURVES.filter((name) => [...drawn.values()].some((curves) => curves.some((curve) => curve.indicators[name])));
  const crowded = [...drawn.values()].flat().length > MOST_DASHED;
  const traces = [];
  plot.classList.toggle("stacked-panels", narrow.matches);
  const layout = chartLayout({ margin: { l: 60, r: 22, t: 28, b: 28 }, hovermode: false, dragmode: "zoom", uirevision: `curves ${state.problem} ${state.clock}`, annotations: [], shapes: timeLine(names.length) });
  names.forEach((name, panel) => {
    const suffix = panel === 0 ? "" : panel + 1;
    const { across, up } = domains(panel, names.length);
    const small = { tickfont: { size: 11, color: colours().faint }, nticks: 4, tickformat: ",.6~g" };
    layout[`xaxis${suffix}`] = axisLayout("", { ...small, nticks: 3, tickangle: 0, domain: across, anchor: `y${suffix}`, rangemode: "tozero" });
    layout[`yaxis${suffix}`] = axisLayout("", { ...small, domain: up, anchor: `x${suffix}` });
    layout.annotations.push(...panelTitle(name, across[0], up[1]));
    for (const [number, curves] of drawn) traces.push(...curveTraces(curves, name, { ...look(number, state.fold), ...(crowded ? { dash: "solid" } : {}) }, suffix));
  });
  Plotly.react(plot, traces, layout, { ...chartOptions(), displayModeBar: false });
}

function reasonForNoCurves() {
  if (state.loaded && !problem()) return "Indicators over training appear with a run's first evaluation.";
  if (problem() && !state.selected.size) return "No run is selected.";
  return state.curves.key && state.plotly ? "Curves appear with the first evaluations." : "Loading …";
}

/** Returns where a panel lies: all in one line, or in two columns where the window is narrow. */
function domains(panel, count) {
  const columns = narrow.matches ? 2 : count;
  const rows = Math.ceil(count / columns);
  const part = (place, parts, gap) => [place * ((1 + gap) / parts), (place + 1) * ((1 + gap) / parts) - gap];
  return { across: part(panel % columns, columns, columns > 2 ? 0.09 : 0.16), up: part(rows - 1 - Math.floor(panel / columns), rows, 0.3) };
}

/** Returns the name of a panel and, drawn before it, an arrow in the direction that is better. */
function panelTitle(name, x, y) {
  const place = { x, y, xref: "paper", yref: "paper", xanchor: "left", yanchor: "bottom" };
  const upwards = DIRECTION[name] === "up";
  const arrow = { ...place, text: "", showarrow: true, arrowhead: 2, arrowsize: 1.1, arrowwidth: 1.4, arrowcolor: colours().text, ax: 0, ay: upwards ? 12 : -12, xshift: 5, yshift: upwards ? 18 : 6 };
  return [{ ...place, text: inWords(name), xshift: 12, yshift: 2, showarrow: false, font: { size: 13 } }, arrow];
}

/** Returns one trace for all curves of a colour, with gaps between them, and the band of each interval. */
function curveTraces(curves, name, { colour, dash, symbol }, suffix) {
  const place = { xaxis: `x${suffix}`, yaxis: `y${suffix}`, type: "scatter", mode: "lines", hoverinfo: "skip" };
  const bands = [];
  const x = [];
  const y = [];
  for (const curve of curves.filter((candidate) => candidate.indicators[name])) {
    const values = curve.indicators[name];
    const clock = curve[state.clock];
    x.push(...clock, null);
    y.push(...(values.mean ?? values).map(drawable), null);
    if (values.mean) {
      bands.push({ ...place, x: [...clock, ...clock.toReversed()], y: [...values.high, ...values.low.toReversed()].map(drawable), fill: "toself", fillcolor: faded(colour, 0.2), line: { width: 0 } });
    }
  }
  const single = x.length <= 2;
  return [...bands, { ...place, x, y, mode: single ? "markers" : "lines", line: { color: faded(colour, curves.length > 10 ? 0.5 : 0.9), width: 1.8, dash }, marker: { color: colour, symbol } }];
}

/** Returns a number as an axis can show it: 0 for the smallest, a gap for the largest. */
function drawable(value) {
  if (value === null || Math.abs(value) > LARGEST_DRAWN) return null;
  return Math.abs(value) < SMALLEST_DRAWN ? 0 : value;
}

let panels = 0;

/** Returns a line through every panel at the training step that is shown. */
function timeLine(count = panels) {
  panels = count;
  if (state.step === null || state.clock !== "training_steps") return [];
  const { faint } = colours();
  return Array.from({ length: panels }, (_, panel) => ({
    type: "line", xref: `x${panel ? panel + 1 : ""}`, yref: `y${panel ? panel + 1 : ""} domain`, x0: state.step, x1: state.step, y0: 0, y1: 1, line: { color: faint, width: 1.2, dash: "dot" },
  }));
}

export function indicatorsTable() {
  const place = element("div", { class: "scroll" });
  const title = element("h2", {}, "Indicators of the reported fronts");
  const redraw = oncePerFrame(() => place.replaceChildren(table()));
  listen(["listing", "selected", "problem", "fold", "folds", "view"], redraw);
  watchTheme(redraw);
  return element("section", { "aria-label": "Indicators" }, title, place);
}

function table() {
  const rows = state.fold ? foldedRows() : selectedRuns().map((run) => ({ name: run.name, number: seriesOf(run), values: run.indicators, errors: run.indicator_errors }));
  if (!rows.length) return element("p", { class: "empty" }, state.fold && selectedRuns().length ? "The seeds are being folded, or not all of a setting's seeds are selected." : "No run is selected.");
  const names = [...new Set(rows.flatMap((row) => Object.keys(row.values)))];
  const head = ["run", ...names].map((name) => element("th", { scope: "col" }, name === "run" ? (state.fold ? "setting" : "run") : [inWords(name), direction(name)]));
  const body = rows.map((row) => {
    const name = element("div", { class: "row nowrap" }, swatch(row.number), elided(row.name));
    return element("tr", {}, element("th", { scope: "row", title: row.name }, name), names.map((key) => element("td", {}, cell(row.values[key], row.errors?.[key]))));
  });
  return element("table", { class: "indicators" }, element("thead", {}, element("tr", {}, head)), element("tbody", {}, body));
}

/** Returns an arrow in the direction that is better. */
function direction(name) {
  const better = DIRECTION[name];
  return better ? [" ", picture(better, better === "up" ? "higher is better" : "lower is better")] : null;
}

function foldedRows() {
  return settingsOfProblem().flatMap((setting, number) => {
    const fold = state.folds[setting.key];
    return fold ? [{ name: `${setting.label} (${fold.runs.length})`, number, values: fold.indicators }] : [];
  });
}

/** Returns a number above its standard error, or the interquartile mean of several seeds above its 95 % bootstrap interval. */
function cell(value, error) {
  if (value === undefined || typeof value === "number") {
    return error > 0 ? [formatted(value), element("span", { class: "interval", title: "standard error" }, `± ${formatted(error, 2)}`)] : formatted(value);
  }
  return value.low === null ? formatted(value.mean) : [formatted(value.mean, 5), element("span", { class: "interval" }, `${formatted(value.low, 4)} to ${formatted(value.high, 4)}`)];
}
