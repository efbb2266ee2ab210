// Where the page begins. TensorBoard calls `render` in a frame of its own; a self-contained page calls it itself.
// Plotly is by far the largest part: it is asked for first, and everything else goes on meanwhile.

const offline = document.getElementById("morl-data") !== null;
const plotly = offline ? Promise.resolve() : loaded("script", { src: "plotly.min.js" });
const style = offline ? Promise.resolve() : loaded("link", { rel: "stylesheet", href: "style.css" });

export async function render() {
  document.documentElement.lang = "en";
  const [{ build }, { isDark, watchTheme }] = await Promise.all([import("./page.js"), import("./theme.js"), style]);
  const follow = () => document.documentElement.classList.toggle("dark", isDark());
  watchTheme(follow);
  follow();
  await build(plotly);
}

/** Adds an element to the head; settles when its file is there. */
function loaded(tag, attributes) {
  const node = Object.assign(document.createElement(tag), attributes);
  return new Promise((resolve, reject) => {
    node.addEventListener("load", resolve);
    node.addEventListener("error", () => reject(new Error(`${attributes.src ?? attributes.href} cannot be loaded`)));
    document.head.append(node);
  });
}
