// Which runs of the history are chosen. They are remembered by name and marked anew whenever the list changes; only
// those count that are in the list, so that nobody deletes what a search hides.

// The names from one to another, both included, in the order of the list; none where one of them is not in it.
export function between(names, one, other) {
  const places = [one, other].map((name) => names.indexOf(name));
  return places.includes(-1) ? [] : names.slice(Math.min(...places), Math.max(...places) + 1);
}

export class Choice {
  constructor() {
    this.chosen = new Set();
    this.origin = null; // where a range begins that Shift chooses
  }

  // The chosen ones of a list, in its order.
  of(names) {
    return names.filter((name) => this.chosen.has(name));
  }

  set(names, isChosen) {
    for (const name of names) this.chosen[isChosen ? "add" : "delete"](name);
  }

  // A click on the box of one run; with Shift all from the run that was clicked before become what this one is.
  click(names, name, isChosen, withShift) {
    this.set([name, ...(withShift ? between(names, this.origin, name) : [])], isChosen);
    this.origin = name;
  }
}

const nameOf = (box) => box.closest(".run").dataset.run;

// Boxes at the runs of a list, and the bar above it.
export function mountChoice({ element, watch }) {
  const choice = new Choice();
  const boxes = () => [...element.querySelectorAll(".run-choose input")];

  function show() {
    const bar = element.querySelector(".choice");
    if (!bar) return;
    const all = boxes();
    for (const box of all) box.checked = choice.chosen.has(nameOf(box));
    showBar(bar, choice.of(all.map(nameOf)), all.length);
  }

  element.addEventListener("click", ({ target, shiftKey }) => {
    const names = boxes().map(nameOf);
    if ("all" in target.dataset) choice.set(names, target.checked);
    else if (target.matches(".run-choose input")) choice.click(names, nameOf(target), target.checked, shiftKey);
    else return;
    show();
  });
  watch("value", show);
}

function showBar(bar, names, ofHowMany) {
  const whole = bar.querySelector("[data-all]");
  whole.checked = names.length === ofHowMany;
  whole.indeterminate = !whole.checked && names.length > 0;
  const count = bar.querySelector(".choice-count");
  const said = names.length ? count.dataset.words.replace("{count}", names.length) : "";
  if (count.textContent !== said) count.textContent = said;
  bar.classList.toggle("some", names.length > 0);
  for (const button of bar.querySelectorAll("button")) {
    button.hidden = !names.length;
    button.dataset["pack" in button.dataset ? "pack" : "delete"] = names.join(" ");
  }
}
