// What is under the mouse. Plotly's own labels read names as markup; this one does not.

import { element, withError } from "./dom.js";
import { extents } from "./choice.js";
import { pointedAt, pointedAway } from "./films.js";
import { pointOf } from "./scene.js";
import { problem } from "./state.js";

const box = element("div", { class: "tooltip", hidden: true });

export function tooltip() {
  return box;
}

export function showTooltip([cloud, row], event) {
  const returns = pointOf(cloud, row);
  const extent = extents([cloud]);
  const errors = cloud.standard_errors?.values.slice(row * returns.length, (row + 1) * returns.length);
  const id = cloud.policy_ids?.values[row];
  box.replaceChildren(
    element("strong", {}, cloud.name),
    ...[pointedAt(cloud, row)].filter(Boolean),
    element("dl", {}, problem().objectives.map((name, k) => [element("dt", {}, name), element("dd", {}, withError(returns[k], errors?.[k], extent[k]))])),
    ...(id >= 0 ? [element("span", {}, `policy ${id}; click to select it`)] : []),
  );
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  const [x, y] = [event?.clientX ?? 0, event?.clientY ?? 0];
  box.style.left = `${Math.min(x + 14, window.innerWidth - width - 8)}px`;
  box.style.top = `${Math.max(8, Math.min(y + 14, window.innerHeight - height - 8))}px`;
}

export function hideTooltip() {
  pointedAway();
  box.hidden = true;
}
