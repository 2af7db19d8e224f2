// The tab History: what is searched, the list of runs, the question before runs are deleted, and a zip of them.
import { mountChoice } from "./history_choice.js";

const TYPING_MS = 200;
const EVENTS = {
  open: "select", compare: "click", delete: "delete", pack: "download", more: "expand", unfold: "expand",
  recognise: "upload",
};

// What is searched; the server reads the form itself.
export function mountTools({ element, trigger }) {
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
}

function clearSearch() {
  const form = document.forms.history;
  for (const field of [form.search, form.emotion]) field.value = "";
  form.search.focus();
  form.requestSubmit();
}

// Finds what gets the focus once the list has changed.
class FocusAfter {
  constructor(element) {
    this.element = element;
    this.find = null;
  }

  first(selector, after = 0) {
    return this.element.querySelectorAll(selector)[after];
  }

  inRun(run, selector, after) {
    return this.first(`[data-run="${CSS.escape(run)}"] ${selector}`, after);
  }

  // What comes behind what is shown now.
  more({ unfold }) {
    const count = unfold ? this.inRun(unfold, ".clips").children.length : this.element.querySelectorAll(".run").length;
    const next = () => (unfold ? this.inRun(unfold, ".clips > li", count) : this.first(".run", count));
    this.find = () => next()?.querySelector("button");
  }

  // What a run that goes leaves the focus to: the next one, else the one before. Several leave it to what is above the
  // list and always in sight, so that the list stays where it was scrolled to.
  leave(run) {
    const names = [...this.element.querySelectorAll(".run")].map((each) => each.dataset.run);
    const place = names.indexOf(run);
    const heir = place < 0 ? null : names[place + 1] || names[place - 1];
    this.find = () => (heir ? this.inRun(heir, "button") : this.first("[data-all]")) || this.first("button");
  }

  focus() {
    const next = this.find && this.find();
    this.find = null;
    if (next) next.focus();
  }
}

// A click goes to the server as an event; its answer changes the list in place, and the focus then stands where the
// reader goes on.
export function mountList({ element, trigger, watch }) {
  const after = new FocusAfter(element);
  element.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if ("clear" in button.dataset) clearSearch();
    const said = { ...button.dataset };
    const way = Object.keys(EVENTS).find((name) => name in said);
    if (!way) return;
    after.find = null;
    if (EVENTS[way] === "expand") after.more(said);
    if (way === "open") button.setAttribute("aria-busy", "true");
    if (way === "compare") document.querySelectorAll("audio").forEach((audio) => audio.pause());
    trigger(EVENTS[way], said);
  });
  element.addEventListener("leave", (event) => after.leave(event.detail));
  watch("value", () => after.focus());
  mountChoice({ element, watch });
}

// The question before runs are deleted; a <dialog> keeps the focus, and Escape is its way back.
export function mountQuestion({ element, props, trigger, watch }) {
  element.addEventListener("click", (event) => {
    const dialog = element.querySelector("dialog");
    const button = event.target.closest("button");
    if (!button) {
      if (event.target === dialog) dialog.close();
      return;
    }
    dialog.close();
    if (!button.dataset.delete) return;
    const leave = new CustomEvent("leave", { detail: button.dataset.delete, bubbles: true });
    document.querySelector("#history-list .run")?.dispatchEvent(leave);
    trigger("delete", { delete: button.dataset.delete });
  });
  watch("value", () => {
    const dialog = element.querySelector("dialog");
    if (!dialog) return;
    // Emptied here, so that the same question can be asked again.
    dialog.addEventListener("close", () => { props.value = ""; }, { once: true });
    if (!dialog.open) dialog.showModal();
  });
}

// A zip that was asked for: its link is followed as soon as it comes.
export function mountZip({ element, watch }) {
  watch("value", () => element.querySelector("a")?.click());
}
