// Which runs are chosen. Runs behind history.js, which gives `element`, `first` and `watch`. They are remembered by name
// and marked anew whenever the list changes; only those count that are in the list, so that nobody deletes what a search
// hides.
const chosen = new Set();
let origin = null; // where a range begins that Shift chooses

const isBox = (target) => target.matches(".run-choose input");
const boxes = () => [...element.querySelectorAll(".run-choose input")];
const nameOf = (box) => box.closest(".run").dataset.run;

function showChoice() {
  const bar = first(".choice");
  if (!bar) return;
  const all = boxes();
  for (const box of all) box.checked = chosen.has(nameOf(box));
  const names = all.filter((box) => box.checked).map(nameOf);
  const whole = bar.querySelector("[data-all]");
  whole.checked = names.length === all.length;
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

const choose = (some, isChosen) => some.forEach((box) => chosen[isChosen ? "add" : "delete"](nameOf(box)));

function between(one, other) {
  const all = boxes();
  const places = [one, other].map((name) => all.findIndex((box) => nameOf(box) === name));
  return places.includes(-1) ? [] : all.slice(Math.min(...places), Math.max(...places) + 1);
}

element.addEventListener("click", ({ target, shiftKey }) => {
  if ("all" in target.dataset) choose(boxes(), target.checked);
  else if (isBox(target)) {
    choose([target, ...(shiftKey ? between(origin, nameOf(target)) : [])], target.checked);
    origin = nameOf(target);
  } else return;
  showChoice();
});

watch("value", showChoice);
