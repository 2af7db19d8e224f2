// The line above an open clip, and above two that are compared. Runs as `js_on_load` of each gr.HTML.
const isPair = Boolean(element.closest("#comparison-head"));
const inList = () => document.activeElement?.closest?.("#history-list [data-open], #history-list [data-compare]");
const beside = () => matchMedia("(min-width: 700px)").matches;
let from = null; // the folder whose button opened this
let closing = false;

const button = () => from && document.querySelector(`#history-list [data-${isPair ? "compare" : "open"}="${CSS.escape(from)}"]`);

function goBack() {
  const target = button() || document.querySelector("#history-list [data-open]");
  target?.focus();
  target?.scrollIntoView({ block: "center" });
}

element.addEventListener("click", (event) => {
  const clicked = event.target.closest("button");
  if (!clicked) return;
  closing = "close" in clicked.dataset;
  if (closing) trigger("clear");
  else goBack();
});

function show() {
  const title = element.querySelector("h2");
  if (isPair) share();
  if (!title && closing) goBack();
  closing = false;
  const origin = inList();
  if (!title || !origin) return;
  from = origin.dataset.open || origin.dataset.compare;
  if (isPair || !beside()) title.focus();
  else title.scrollIntoView({ block: "nearest" });
}

// Both on one scale of time: the shorter clip takes a part of the width.
function share() {
  const pair = element.querySelector(".comparison");
  for (const name of ["one", "other"]) {
    document.querySelector(`#comparison-${name}-timeline`).style.setProperty("--share", pair ? pair.dataset[name] : 1);
  }
}

watch("value", show);
