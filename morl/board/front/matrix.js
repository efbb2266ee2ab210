// Three and more objectives: every pair as a small scatter plot.

import { plotlyText, tickMargin } from "./dom.js";
import { boundLines, filterBox, rings } from "./marks.js";
import { dots, MOST_DRAWN } from "./paint.js";
import { column } from "./scene.js";
import { state } from "./state.js";
import { axisLayout, chartLayout, colours } from "./theme.js";

export function figure({ groups, ranges, objectives, problem }) {
  const side = objectives.length - 1;
  const many = groups.reduce((sum, group) => sum + group.items.length, 0) * ((side * (side + 1)) / 2) > MOST_DRAWN;
  const traces = [];
  const items = [];
  const layout = chartLayout({ dragmode: "select", margin: { l: Math.max(72, ...ranges.slice(1).map(tickMargin)), r: 12, t: 12, b: 56 }, uirevision: `matrix ${state.problem}`, shapes: [] });
  const known = problem.known_front && Array.from({ length: problem.known_front.shape[0] }, (_, row) => [{ points: problem.known_front }, row]);
  for (const panel of panels(objectives.length)) {
    Object.assign(layout, panelAxes(panel, side, objectives, ranges));
    const axes = [ranges, panel.column, panel.row, panel.xref, panel.yref];
    layout.shapes.push(...boundLines(...axes), ...filterBox(...axes));
    const place = { xaxis: panel.xref, yaxis: panel.yref, type: "scatter", mode: "markers", hoverinfo: "none" };
    const points = (of) => ({ x: column(of, panel.column), y: column(of, panel.row) });
    if (known) {
      traces.push({ ...place, ...points(known), marker: { symbol: "circle-open", size: 7, color: colours().known, opacity: 0.8 } });
      items.push(() => null);
    }
    if (many) {
      traces.push({ ...place, x: [], y: [] });
      items.push(() => null);
      continue;
    }
    for (const group of groups) {
      const marker = group.filtered
        ? { color: colours().filtered, size: 3, opacity: 0.4 }
        : { color: group.colour, symbol: group.symbol, size: 5, opacity: 0.75 };
      traces.push({ ...place, ...points(group.items), marker });
      items.push((point) => group.items[point]);
    }
  }
  const over = panels(objectives.length).map((panel) => ({ ...panel, across: panel.column, up: panel.row }));
  return { traces, layout, items, painted: many ? dots(groups, over) : null, fixed: many };
}

/** Returns the panels below the diagonal: objectives of row and column, and the names of their axes. */
function panels(objectives) {
  const made = [];
  for (let row = 1; row < objectives; row++) {
    for (let column = 0; column < row; column++) {
      const number = made.length + 1;
      made.push({ row, column, number, xref: `x${number === 1 ? "" : number}`, yref: `y${number === 1 ? "" : number}` });
    }
  }
  return made;
}

function panelAxes({ row, column: across, number }, side, objectives, ranges) {
  const gap = 0.02;
  const width = (1 - gap * (side - 1)) / side;
  const start = (place) => place * (width + gap);
  const bottom = row === objectives.length - 1;
  const small = { tickfont: { size: 10, color: colours().faint }, nticks: 4 };
  const title = (text) => ({ text: plotlyText(text), standoff: 6, font: { size: side > 3 ? 11 : 13 } });
  const name = number === 1 ? "" : number;
  return {
    [`xaxis${name}`]: axisLayout("", {
      ...small, title: title(bottom ? objectives[across] : ""), domain: [start(across), start(across) + width], anchor: `y${name}`, range: [...ranges[across]], showticklabels: bottom, automargin: bottom,
    }),
    [`yaxis${name}`]: axisLayout("", {
      ...small, title: title(across === 0 ? objectives[row] : ""), domain: [start(side - row), start(side - row) + width], anchor: `x${name}`, range: [...ranges[row]], showticklabels: across === 0,
    }),
  };
}

export function marks({ objectives }, { best, alternatives }) {
  const policies = [best, ...alternatives].filter(Boolean);
  return panels(objectives.length).flatMap(({ row, column: across, xref, yref }) =>
    rings(policies.map(({ returns }) => [returns[across], returns[row]]), xref, yref, 7),
  );
}

/** Returns the limits of the two objectives of the panel that a box was drawn in. */
export function limits(range, { objectives }) {
  const panel = panels(objectives.length).find(({ xref, yref }) => range[xref] && range[yref]);
  const sorted = (pair) => pair.toSorted((a, b) => a - b);
  return panel ? { [panel.column]: sorted(range[panel.xref]), [panel.row]: sorted(range[panel.yref]) } : null;
}
