// A preference over three objectives as a point in a triangle: each corner is one objective alone.

const SPACE = "http://www.w3.org/2000/svg";
const CORNERS = [[100, 14], [16, 150], [184, 150]]; // of the objectives, in the picture's units

/**
 * Returns the triangle. Drag the point, or move it with the arrow keys (up: towards the first objective).
 * `get` returns the preference, `set` takes a new one, and `updates` is given a function that moves the point.
 */
export function triangle(objectives, get, set, updates) {
  const picture = made("svg", { viewBox: "0 0 200 178", class: "triangle", tabindex: 0, role: "slider", "aria-label": `Preference between ${objectives.join(", ")}` });
  const area = made("polygon", { points: CORNERS.map((corner) => corner.join(",")).join(" ") });
  const point = made("circle", { r: 7 });
  const labels = objectives.map((name, k) => {
    const text = made("text", { x: [100, 16, 184][k], y: [9, 168, 168][k], "text-anchor": ["middle", "start", "end"][k] });
    text.textContent = name.length > 18 ? `${name.slice(0, 17)}…` : name;
    return text;
  });
  picture.append(area, ...labels, point);
  const move = (weights) => set(rounded(weights));
  const follow = (event) => move(weightsAt(...placeOf(picture, event)));
  picture.addEventListener("pointerdown", (event) => {
    picture.setPointerCapture(event.pointerId);
    follow(event);
  });
  picture.addEventListener("pointermove", (event) => event.buttons && follow(event));
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [0.02, -0.01, -0.01], ArrowDown: [-0.02, 0.01, 0.01], ArrowLeft: [0, 0.02, -0.02], ArrowRight: [0, -0.02, 0.02] }[event.key];
    if (!step) return;
    event.preventDefault();
    move(inside(get().map((weight, k) => weight + step[k])));
  });
  updates.push(() => {
    const weights = get();
    const [x, y] = [0, 1].map((axis) => CORNERS.reduce((sum, corner, k) => sum + weights[k] * corner[axis], 0));
    point.setAttribute("cx", x);
    point.setAttribute("cy", y);
    picture.setAttribute("aria-valuetext", objectives.map((name, k) => `${name} ${weights[k].toFixed(2)}`).join(", "));
    picture.setAttribute("aria-valuenow", weights[0].toFixed(2));
  });
  return picture;
}

function made(tag, attributes) {
  const node = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function placeOf(picture, event) {
  const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
  return [place.x, place.y];
}

/** Returns the weights of a place: its barycentric coordinates, brought inside the triangle. */
function weightsAt(x, y) {
  const [[ax, ay], [bx, by], [cx, cy]] = CORNERS;
  const whole = (by - cy) * (ax - cx) + (cx - bx) * (ay - cy);
  const first = ((by - cy) * (x - cx) + (cx - bx) * (y - cy)) / whole;
  const second = ((cy - ay) * (x - cx) + (ax - cx) * (y - cy)) / whole;
  return inside([first, second, 1 - first - second]);
}

function inside(weights) {
  const positive = weights.map((weight) => Math.max(0, weight));
  const sum = positive.reduce((total, weight) => total + weight, 0);
  return positive.map((weight) => weight / sum);
}

function rounded(weights) {
  return weights.map((weight) => Math.round(1000 * weight) / 1000);
}
