// The list of runs. Runs as `js_on_load` of its gr.HTML, which gives `element`, `trigger` and `watch`. A click goes to
// the server as an event; its answer changes the list in place, and the focus then stands where the reader goes on.
const EVENTS = {
  open: "select", compare: "click", delete: "delete", pack: "download", more: "expand", unfold: "expand",
  recognise: "upload",
};
let goOn = null; // finds what gets the focus once the list has changed

const first = (selector, after = 0) => element.querySelectorAll(selector)[after];
const inRun = (run, selector, after) => first(`[data-run="${CSS.escape(run)}"] ${selector}`, after);
const WAYS = {
  more: () => {
    const shown = element.querySelectorAll(".run").length;
    return () => first(".run", shown)?.querySelector("button");
  },
  unfold: ({ unfold }) => {
    const shown = inRun(unfold, ".clips").children.length;
    return () => inRun(unfold, ".clips > li", shown)?.querySelector("button");
  },
};

function clear() {
  const form = document.forms.history;
  for (const field of [form.search, form.emotion]) field.value = "";
  form.search.focus();
  form.requestSubmit();
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if ("clear" in button.dataset) clear();
  const said = { ...button.dataset };
  const way = Object.keys(EVENTS).find((name) => name in said);
  if (!way) return;
  goOn = WAYS[way] ? WAYS[way](said) : null;
  if (way === "open") button.setAttribute("aria-busy", "true");
  if (way === "compare") document.querySelectorAll("audio").forEach((audio) => audio.pause());
  trigger(EVENTS[way], said);
});

// What a run that goes leaves the focus to: the next one, else the one before. Several leave it to what is above the
// list and always in sight, so that the list stays where it was scrolled to.
element.addEventListener("leave", (event) => {
  const names = [...element.querySelectorAll(".run")].map((run) => run.dataset.run);
  const place = names.indexOf(event.detail);
  const heir = place < 0 ? null : names[place + 1] || names[place - 1];
  goOn = () => (heir ? inRun(heir, "button") : first("[data-all]")) || first("button");
});

watch("value", () => {
  const next = goOn && goOn();
  goOn = null;
  if (next) next.focus();
});
