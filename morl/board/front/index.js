// Where the page begins. TensorBoard calls `render` in a frame of its own; a self-contained page calls it itself.
// Plotly is by far the largest part. It is fetched first and evaluated last, when the first picture has been painted
// without it: its evaluation alone takes longer than everything else.

import "./api.js"; // its first question is on its way before the other modules are

const inside = document.getElementById("morl-plotly"); // in a self-contained page: Plotly's source, as text
if (!inside) added("link", { rel: "preload", as: "script", href: "plotly.min.js", fetchPriority: "low" });
const style = inside ? null : loaded("link", { rel: "stylesheet", href: "style.css" });

export async function render() {
  document.documentElement.lang = "en";
  const [{ build }, { isDark, watchTheme }] = await Promise.all([import("./page.js"), import("./theme.js"), style]);
  const follow = () => document.documentElement.classList.toggle("dark", isDark());
  watchTheme(follow);
  follow();
  await build(loadPlotly);
}

let plotly = null;

/** Has Plotly evaluated; settles when it is there. */
function loadPlotly() {
  plotly ??= inside ? Promise.resolve(added("script", { text: inside.textContent })) : loaded("script", { src: "plotly.min.js" });
  return plotly;
}

/** Adds an element to the head; settles when its file is there. */
function loaded(tag, attributes) {
  return new Promise((resolve, reject) => {
    const node = Object.assign(document.createElement(tag), attributes);
    node.addEventListener("load", resolve);
    node.addEventListener("error", () => reject(new Error(`${attributes.src ?? attributes.href} cannot be loaded`)));
    document.head.append(node);
  });
}

function added(tag, attributes) {
  const node = Object.assign(document.createElement(tag), attributes);
  document.head.append(node);
  return node;
}
