// What is searched in the history. Runs as `js_on_load` of its gr.HTML; the server reads the form itself.
const TYPING_MS = 200;
let timer = 0;

function ask(after_ms) {
  clearTimeout(timer);
  timer = setTimeout(() => trigger("input"), after_ms);
}

element.addEventListener("input", (event) => {
  // Half a Chinese word is still spelt in Latin letters.
  if (!event.isComposing) ask(event.target.name === "emotion" ? 0 : TYPING_MS);
});
element.addEventListener("compositionend", () => ask(TYPING_MS));
element.addEventListener("submit", (event) => {
  event.preventDefault();
  ask(0);
});
