// What recorded policies do: the film in the card, thumbnails along the front, and two films side by side.

import { filmAddress, offline } from "./api.js";
import { CHOICE_KEYS, choice, extents } from "./choice.js";
import { copyLine, element, formatted, picture, quoted, withError } from "./dom.js";
import { passes, pointOf, seedClouds } from "./scene.js";
import { change, listen, oncePerFrame, problem, selectedRuns, state } from "./state.js";
import { watchTheme } from "./theme.js";

const stillness = window.matchMedia("(prefers-reduced-motion: reduce)");
const RECORDED_KEYS = ["listing", "films", "fronts", "histories", "problem", "selected", "step", "filter"];

/** Returns the recording of a policy of a run's reported front, null where there is none. */
export function recordingOf(run, row) {
  return (state.step === null && state.films[run.name]?.recordings[row]) || null;
}

/** Returns a player of a recording; a file that cannot be played becomes a sentence. */
export function player(run, recording, label) {
  const address = filmAddress(run.name, recording.file);
  const still = filmAddress(run.name, recording.thumbnail);
  const holder = element("div", { class: "player" });
  const failed = () => holder.replaceChildren(element("p", { class: "note" }, "This recording cannot be played here: it is damaged, or the browser lacks its format."));
  const moves = !stillness.matches;
  const size = { width: recording.width, height: recording.height, onerror: failed };
  if (recording.file.endsWith(".gif")) {
    holder.append(element("img", { src: moves ? address : still, alt: label, ...size }));
  } else {
    const video = element("video", { src: address, poster: still, "aria-label": label, controls: true, loop: true, playsinline: true, tabindex: 0, ...size });
    video.muted = true; // or else browsers do not begin by themselves
    video.autoplay = moves;
    holder.append(video);
  }
  return holder;
}

/** Returns which episodes a film shows, and what they returned. */
function filmCaption({ seed, returns, steps }) {
  const { objectives } = problem();
  const means = objectives.map((name, k) => `${name} ${formatted(returns.reduce((sum, episode) => sum + episode[k], 0) / returns.length, 4)}`);
  const many = returns.length > 1;
  const episodes = many ? `Seeds ${seed} to ${seed + returns.length - 1}, on average` : `Seed ${seed}`;
  return `${episodes}, ${formatted(steps.reduce((sum, count) => sum + count, 0))} steps: ${means.join(", ")}`;
}

/** Returns the row of front.json behind a point that is shown. */
function rowInRun({ cloud, row }) {
  return cloud.rows?.values[row] ?? row;
}

function nameOf(policy) {
  return `row ${rowInRun(policy)} of ${policy.run.name}`;
}

/** Returns the line that records a policy, with what is the matter. */
function howToRecord(policy) {
  const damaged = state.films[policy.run.name]?.damaged[policy.row];
  const words = damaged ?? (offline ? "This page has no recording of it. This command makes one:" : "Not recorded yet. This command records it:");
  const line = `morl watch ${quoted(policy.run.directory)} --row ${rowInRun(policy)} --record`;
  return [element("p", { class: damaged ? "note" : "hint small" }, words), copyLine("Shell", line)];
}

/** Returns whether a policy is the one that is held for comparison. */
function isHeld(policy) {
  return state.held?.run === policy.run.name && state.held.row === policy.row;
}

function filmAndCaption(policy) {
  const recording = recordingOf(policy.run, policy.row);
  if (!recording) return howToRecord(policy);
  return [player(policy.run, recording, `Video of ${nameOf(policy)}`), element("p", { class: "hint small" }, filmCaption(recording))];
}

/** Returns what tells the film of a policy from another one. */
function filmKey(policy) {
  const films = policy && state.films[policy.run.name];
  return policy && [policy.run.name, policy.row, state.step, films?.version, recordingOf(policy.run, policy.row)?.file, films?.damaged[policy.row]];
}

/**
 * Returns [film, foot] of the card: the chosen policy's film, which plays on while something else of the card changes, and
 * for below the card's facts the line that records it where there is none. The button that holds it is in one of them.
 */
export function cardFilm() {
  const film = element("div", { class: "film" });
  const line = element("div");
  const hold = element("button", { class: "quiet hold", title: "Keep this policy in view, and look at others beside it", onclick: () => toggleHeld(usable) });
  const foot = element("div", { class: "foot" }, line, hold);
  let [usable, shown] = [null, ""];
  const redraw = oncePerFrame(() => {
    const { best } = problem() ? choice() : { best: null };
    usable = best && state.step === null && best.run.loadable ? best : null;
    hold.hidden = !usable;
    const held = usable !== null && isHeld(usable);
    hold.textContent = held ? "Release" : "Hold to compare";
    hold.setAttribute("aria-pressed", String(held));
    const key = JSON.stringify(filmKey(usable));
    if (key === shown) return;
    shown = key;
    const recorded = usable && recordingOf(usable.run, usable.row);
    film.replaceChildren(...(recorded ? filmAndCaption(usable) : []));
    line.replaceChildren(...(usable && !recorded ? howToRecord(usable) : []));
    (recorded ? film : foot).append(hold);
  });
  listen([...CHOICE_KEYS, "films", "held"], redraw);
  return [film, foot];
}

function toggleHeld(policy) {
  change({ held: isHeld(policy) ? null : { run: policy.run.name, row: policy.row } });
}

// --- Thumbnails along the front ----------------------------------------------------------------------------------------

let thumbnails = []; // { policy, button }, in the order of the first objective

/** Returns the strip of all recorded policies that are shown: arrow keys walk along it, Enter looks at one. */
export function filmStrip() {
  const strip = element("div", { class: "strip", role: "toolbar", "aria-label": "Recorded policies", onkeydown: walk });
  const sheets = element("span", { class: "hint small" });
  const section = element("section", { "aria-label": "Recorded policies", hidden: true }, element("div", { class: "row" }, element("h2", {}, "Recorded"), sheets), strip);
  const redraw = oncePerFrame(() => {
    const focused = thumbnails.findIndex(({ button }) => button === document.activeElement);
    thumbnails = recordedPolicies().map((policy) => ({ policy, button: thumbnailButton(policy) }));
    section.hidden = thumbnails.length === 0;
    strip.replaceChildren(...thumbnails.map(({ button }) => button));
    sheets.replaceChildren(...contactSheets());
    markChosen();
    if (focused >= 0) thumbnails[Math.min(focused, thumbnails.length - 1)]?.button.focus();
  });
  listen(RECORDED_KEYS, redraw);
  listen(CHOICE_KEYS, oncePerFrame(markChosen));
  watchTheme(redraw);
  return section;
}

function recordedPolicies() {
  if (!problem() || state.step !== null) return [];
  const found = seedClouds().flatMap((cloud) =>
    Object.keys(state.films[cloud.run.name]?.recordings ?? {}).map(Number)
      .filter((row) => row < cloud.points.shape[0] && passes(cloud.points.values, row * cloud.points.shape[1]))
      .map((row) => ({ run: cloud.run, cloud, row, returns: pointOf(cloud, row) })),
  );
  return found.sort((a, b) => a.returns[0] - b.returns[0]);
}

function thumbnailButton(policy) {
  const { run, row, cloud, returns } = policy;
  const words = problem().objectives.map((name, k) => `${name} ${formatted(returns[k], 4)}`);
  const still = element("img", { src: filmAddress(run.name, recordingOf(run, row).thumbnail), alt: "", loading: "lazy", width: 160 });
  const texts = element("span", {}, words.slice(0, 3).map((text) => element("span", {}, text)));
  const label = `Look at ${nameOf(policy)}: ${words.join(", ")}`;
  const button = element("button", { class: "thumbnail", title: label, "aria-label": label, tabindex: -1, onclick: () => change({ picked: { run: run.name, row } }) }, still, texts);
  button.style.setProperty("--series", cloud.colour);
  return button;
}

/** Marks the chosen policy among the thumbnails, which is also where the Tab key enters the strip. */
function markChosen() {
  const { best } = problem() ? choice() : { best: null };
  const chosen = thumbnails.findIndex(({ policy }) => policy.run.name === best?.run.name && policy.row === best.row);
  thumbnails.forEach(({ button }, index) => {
    button.setAttribute("aria-pressed", String(index === chosen));
    button.tabIndex = index === Math.max(0, chosen) ? 0 : -1;
  });
  if (chosen >= 0) reveal(thumbnails[chosen].button);
}

/** Scrolls the strip alone, never the page. */
function reveal(button) {
  const strip = button.parentElement;
  const [left, right] = [button.offsetLeft - strip.offsetLeft, button.offsetLeft - strip.offsetLeft + button.offsetWidth];
  if (left < strip.scrollLeft) strip.scrollLeft = left;
  else if (right > strip.scrollLeft + strip.clientWidth) strip.scrollLeft = right - strip.clientWidth;
}

function walk(event) {
  const now = thumbnails.findIndex(({ button }) => button === document.activeElement);
  const last = thumbnails.length - 1;
  const next = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: last }[event.key];
  if (now < 0 || next === undefined) return;
  event.preventDefault();
  thumbnails[Math.min(last, Math.max(0, next))].button.focus({ preventScroll: true });
  reveal(document.activeElement);
}

function contactSheets() {
  if (offline) return [];
  return selectedRuns().filter((run) => state.films[run.name]?.sheet).map((run, index, all) =>
    element("a", { href: filmAddress(run.name, state.films[run.name].sheet), target: "_blank" }, all.length > 1 ? `Contact sheet of ${run.name}` : "Contact sheet"),
  );
}

/** Returns the thumbnail of a point that is under the mouse, and lights up the nearest one in the strip; null without one. */
export function pointedAt(cloud, row) {
  light(cloud, row);
  const recording = cloud.run ? recordingOf(cloud.run, row) : null;
  return recording && element("img", { class: "pointed", src: filmAddress(cloud.run.name, recording.thumbnail), alt: "" });
}

export function pointedAway() {
  for (const { button } of thumbnails) button.classList.remove("near");
}

function light(cloud, row) {
  pointedAway();
  if (!thumbnails.length) return;
  const extent = extents(seedClouds());
  const place = pointOf(cloud, row);
  const away = ({ policy }) => Math.hypot(...place.map((value, k) => (value - policy.returns[k]) / (extent[k].size || 1)));
  const nearest = thumbnails.reduce((best, other) => (away(other) < away(best) ? other : best));
  nearest.button.classList.add("near");
  reveal(nearest.button);
}

// --- Side by side ------------------------------------------------------------------------------------------------------

/** Returns the held policy as `choice` returns policies; null where there is none any more. */
function heldPolicy() {
  const cloud = state.held && state.step === null && problem() ? seedClouds().find(({ run }) => run.name === state.held.run) : null;
  if (!cloud || state.held.row >= cloud.points.shape[0]) return null;
  return { run: cloud.run, cloud, row: state.held.row, returns: pointOf(cloud, state.held.row) };
}

/** Returns the section in which the held policy and the chosen one play beside each other. */
export function sideBySide() {
  const films = [element("figure"), element("figure")];
  const differences = element("div", { class: "scroll" });
  const again = element("button", { onclick: () => restart(films) }, picture("play"), " Play both from the start");
  const release = element("button", { class: "quiet", onclick: () => change({ held: null }) }, "Release");
  const section = element(
    "section", { "aria-label": "Side by side", hidden: true },
    element("h2", {}, "Side by side"), element("div", { class: "side-by-side" }, films), element("div", { class: "row" }, again, release), differences,
  );
  const shown = ["", ""];
  const redraw = oncePerFrame(() => {
    const pair = [heldPolicy(), problem() ? choice().best : null];
    section.hidden = !pair[0] || !pair[1];
    const alone = !section.hidden && isHeld(pair[1]);
    pair.forEach((policy, side) => {
      const key = section.hidden ? "" : side && alone ? "alone" : JSON.stringify(filmKey(policy));
      if (key === shown[side]) return;
      shown[side] = key;
      if (key === "") films[side].replaceChildren();
      else if (key === "alone") films[side].replaceChildren(element("p", { class: "hint" }, "Select another policy: it plays here."));
      else films[side].replaceChildren(element("figcaption", {}, side ? "Selected: " : "Held: ", nameOf(policy)), ...filmAndCaption(policy));
    });
    again.hidden = films.some((film) => !film.querySelector("video"));
    differences.replaceChildren(...(section.hidden || alone ? [] : [differenceTable(pair)]));
  });
  listen([...CHOICE_KEYS, "films", "held"], redraw);
  return section;
}

function restart(films) {
  for (const video of films.map((film) => film.querySelector("video"))) {
    video.currentTime = 0;
    video.play();
  }
}

function differenceTable([held, chosen]) {
  const extent = extents(seedClouds());
  const row = (name, k) => {
    const change = chosen.returns[k] - held.returns[k];
    const equal = Math.abs(change) <= extent[k].rounding;
    const text = equal ? "0" : `${change > 0 ? "+" : ""}${formatted(change, 4)}`;
    return element(
      "tr", {}, element("th", { scope: "row" }, name),
      [held, chosen].map(({ returns }) => element("td", {}, withError(returns[k], 0, extent[k]))), element("td", { class: equal ? "" : change > 0 ? "gain" : "loss" }, text),
    );
  };
  const head = ["", "held", "selected", "difference"].map((text) => element("th", { scope: "col" }, text));
  return element(
    "table", { class: "differences" }, element("caption", {}, "Reported returns"),
    element("thead", {}, element("tr", {}, head)), element("tbody", {}, problem().objectives.map(row)),
  );
}
