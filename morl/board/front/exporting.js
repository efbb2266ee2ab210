// The points that are shown, as CSV or JSON.

import { element } from "./dom.js";
import { passes, pointOf, seedClouds } from "./scene.js";
import { problem, state } from "./state.js";

export function exportButtons() {
  return element(
    "div", { class: "row" },
    element("span", { class: "grow" }, "Points shown"),
    element("button", { onclick: () => saveFile("front.csv", "text/csv", asCsv(pointsShown())) }, "CSV"),
    element("button", { onclick: () => saveFile("front.json", "application/json", asJson(pointsShown())) }, "JSON"),
  );
}

/** Returns a record for each point of the selected runs that passes the filter. */
function pointsShown() {
  const { objectives } = problem();
  const records = [];
  for (const cloud of seedClouds()) {
    const { shape: [count, width], values } = cloud.points;
    for (let row = 0; row < count; row++) {
      if (!passes(values, row * width)) continue;
      const rowOf = (table) => table && Array.from(table.values.slice(row * width, (row + 1) * width));
      const preference = rowOf(cloud.preferences);
      const errors = rowOf(cloud.standard_errors);
      records.push({
        run: cloud.run.name, agent: cloud.run.agent, env: problem().env, seed: cloud.run.seed,
        training_steps: cloud.at ?? cloud.run.counts.selected_at_step ?? cloud.run.counts.training_steps ?? null,
        row: cloud.rows?.values[row] ?? null, policy_id: cloud.policy_ids?.values[row] ?? null,
        returns: Object.fromEntries(pointOf(cloud, row).map((value, k) => [objectives[k], value])),
        standard_errors: errors?.every(Number.isFinite) ? Object.fromEntries(errors.map((value, k) => [objectives[k], value])) : null,
        preference: preference?.every(Number.isFinite) ? Object.fromEntries(preference.map((value, k) => [objectives[k], value])) : null,
      });
    }
  }
  return records;
}

function asJson(points) {
  const { env, objectives, discount } = problem();
  return `${JSON.stringify({ env, objectives, discount, step: state.step ?? "reported", points }, null, 1)}\n`;
}

function asCsv(points) {
  const { objectives } = problem();
  const plain = ["run", "agent", "env", "seed", "training_steps", "row", "policy_id"];
  const lines = [[...plain, ...objectives.map((name) => `return ${name}`), ...objectives.map((name) => `standard error ${name}`), ...objectives.map((name) => `preference ${name}`)]];
  for (const point of points) {
    lines.push([
      ...plain.map((key) => point[key]), ...objectives.map((name) => point.returns[name]), ...objectives.map((name) => point.standard_errors?.[name] ?? null), ...objectives.map((name) => point.preference?.[name] ?? null),
    ]);
  }
  return lines.map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}

function cell(value) {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Has the browser save a text as a file. */
export function saveFile(name, kind, content) {
  const address = URL.createObjectURL(new Blob([content], { type: kind }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
