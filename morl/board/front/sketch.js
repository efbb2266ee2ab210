// The first picture, painted on the canvas while the browser still evaluates Plotly: the same figure (axes, lines,
// points), without gestures. It reads the few things of Plotly's figures that the plane, parallel coordinates and the
// scatter matrix use.

import { fitted } from "./paint.js";
import { colours, dashes, glyph } from "./theme.js";
import { niceTicks, tickTexts } from "./dom.js";

/** Paints a figure { traces, layout, painted } over the whole canvas. */
export function sketch(canvas, { traces, layout, painted }) {
  const size = { clientWidth: canvas.parentElement.clientWidth, clientHeight: canvas.parentElement.clientHeight };
  const plot = { ...size, _fullLayout: axesOf(layout, size) };
  if (painted) painted.draw(canvas, plot);
  else fitted(canvas, plot);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const sharp = canvas.width / size.clientWidth;
  context.setTransform(sharp, 0, 0, sharp, 0, 0);
  const axes = plot._fullLayout;
  for (const trace of traces) drawTrace(context, trace, axes[long(trace.xaxis ?? "x")], axes[long(trace.yaxis ?? "y")]);
  for (const [name, axis] of Object.entries(axes)) if (axis.visible !== false) drawAxis(context, axis, axes[long(axis.anchor ?? (name[0] === "x" ? "y" : "x"))]);
  for (const { type, xref, yref, x0, x1, y0, y1, line } of layout.shapes ?? []) {
    const [across, up] = [axes[long(xref ?? "x")], axes[long(yref ?? "y")]];
    if (type === "line") stroke(context, [[across.d2p(x0), up.d2p(y0)], [across.d2p(x1), up.d2p(y1)]], line, across, up);
  }
  for (const note of layout.annotations ?? []) drawNote(context, note, axes);
}

function long(reference) {
  return reference.replace(/^([xy])/, "$1axis");
}

/** Returns the axes of a layout, placed as Plotly places them: `_offset` and `_length` in pixels, `d2p` and `p2d`. */
function axesOf({ margin, ...layout }, { clientWidth, clientHeight }) {
  const [width, height] = [clientWidth - margin.l - margin.r, clientHeight - margin.t - margin.b];
  const axes = {};
  for (const [name, axis] of Object.entries(layout).filter(([key]) => /^[xy]axis\d*$/.test(key))) {
    const across = name[0] === "x";
    const [from, to] = axis.domain ?? [0, 1];
    const _length = (to - from) * (across ? width : height);
    const _offset = across ? margin.l + from * width : margin.t + (1 - to) * height;
    const [lowest, highest] = axis.range;
    const share = (value) => (value - lowest) / (highest - lowest);
    const d2p = across ? (value) => share(value) * _length : (value) => (1 - share(value)) * _length;
    axes[name] = { ...axis, across, _offset, _length, d2p };
  }
  return axes;
}

function drawTrace(context, { mode, x, y, line = { width: 0 }, marker, fill, fillcolor }, across, up) {
  const place = (index) => [across._offset + across.d2p(x[index]), up._offset + up.d2p(y[index])];
  if (mode === "lines") {
    context.beginPath();
    for (let index = 0; index < x.length; index++) {
      if (x[index] !== null) context[index === 0 || x[index - 1] === null ? "moveTo" : "lineTo"](...place(index));
    }
    inside(context, across, up, () => {
      if (fill) Object.assign(context, { fillStyle: fillcolor }).fill();
      context.setLineDash(dashes(line.dash, line.width));
      if (line.width) Object.assign(context, { strokeStyle: line.color, lineWidth: line.width }).stroke();
      context.setLineDash([]);
    });
  } else if (mode === "markers") {
    const hollow = marker.symbol?.endsWith("-open");
    const path = new Path2D(glyph(marker.symbol?.replace("-open", "") ?? "circle"));
    Object.assign(context, { fillStyle: marker.color, strokeStyle: marker.color, globalAlpha: marker.opacity ?? 1 });
    for (let index = 0; index < x.length; index++) {
      const [left, top] = place(index);
      const scale = marker.size / 10;
      context.save();
      context.translate(left - 6 * scale, top - 6 * scale);
      context.scale(scale, scale);
      context.lineWidth = (marker.line?.width ?? 1) / scale;
      hollow ? context.stroke(path) : context.fill(path);
      context.restore();
    }
    context.globalAlpha = 1;
  }
}

/** Draws within the panel of two axes. */
function inside(context, across, up, draw) {
  const way = new Path2D();
  way.rect(across._offset, up._offset, across._length, up._length);
  context.save();
  context.clip(way);
  draw();
  context.restore();
}

function stroke(context, path, { color, width }, across, up) {
  context.beginPath();
  for (const [x, y] of path) context.lineTo(across._offset + x, up._offset + y);
  Object.assign(context, { strokeStyle: color, lineWidth: width }).stroke();
}

function drawAxis(context, axis, other) {
  const { across, _offset: start, _length: length, range, showticklabels } = axis;
  const edge = across ? other._offset + other._length : other._offset;
  const far = across ? other._offset : other._offset + other._length;
  context.lineWidth = 1;
  const values = niceTicks(range, length / (across ? 90 : 50));
  const texts = tickTexts(values);
  for (const [index, value] of values.entries()) {
    const place = start + axis.d2p(value);
    line(context, axis.gridcolor, across, place, edge, far);
    line(context, axis.tickcolor, across, place, edge, edge + (across ? 4 : -4));
    if (showticklabels === false) continue;
    write(context, texts[index], across ? place : edge - 7, across ? edge + 7 : place, { color: axis.tickfont.color, size: axis.tickfont.size, align: across ? "center" : "right", baseline: across ? "top" : "middle" });
  }
  line(context, axis.linecolor, !across, edge, start, start + length);
  const title = axis.title?.text;
  if (!title) return;
  context.save();
  context.translate(across ? start + length / 2 : 20, across ? edge + 34 : start + length / 2);
  if (!across) context.rotate(-Math.PI / 2);
  write(context, title, 0, 0, { color: colours().text, size: axis.title.font?.size ?? 15, align: "center", baseline: "middle" });
  context.restore();
}

/** Draws a line along one pixel: upright at x = `place`, or level at y = `place`. */
function line(context, color, upright, place, from, to) {
  context.strokeStyle = color;
  context.beginPath();
  context.moveTo(upright ? place : from, upright ? from : place);
  context.lineTo(upright ? place : to, upright ? to : place);
  context.stroke();
}

function drawNote(context, { x, y, yref, xanchor, yanchor, xshift = 0, yshift = 0, text, font }, { xaxis, yaxis }) {
  const top = yaxis._offset + (yref === "paper" ? (1 - y) * yaxis._length : yaxis.d2p(y)) - yshift;
  const place = { color: font.color, size: font.size, align: xanchor, baseline: yanchor === "top" ? "top" : "middle", bold: text.startsWith("<b>") };
  write(context, text.replace(/<\/?b>/g, ""), xaxis._offset + xaxis.d2p(x) + xshift, top, place);
}

/** Writes a text as Plotly is given it: its three escapes are undone. */
function write(context, text, x, y, { color, size, align, baseline, bold = false }) {
  const plain = text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
  Object.assign(context, { fillStyle: color, textAlign: align, textBaseline: baseline, font: `${bold ? "bold " : ""}${size}px Roboto, system-ui, sans-serif` });
  context.fillText(plain, x, y);
}
