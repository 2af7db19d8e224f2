// Buttons of clips, and the map with mouse and keys, after patched.js.
const sound = element.querySelector("audio");
let playing = null; // the button whose clip plays

function showPlaying() {
  for (const button of part.querySelectorAll("[data-audio]")) {
    const isOn = button === playing && !sound.paused;
    button.textContent = isOn ? "❚❚" : "▶";
    button.setAttribute("aria-label", isOn ? button.dataset.pause : button.dataset.play);
  }
}

function play(button) {
  if (button === playing && !sound.paused) return sound.pause();
  playing = button;
  if (sound.getAttribute("src") !== button.dataset.audio) sound.src = button.dataset.audio;
  sound.play().catch(() => {}); // it is gone, or the browser refuses; the button stays as it is
}

sound.addEventListener("play", () => {
  document.querySelectorAll("audio").forEach((other) => other !== sound && other.pause());
  showPlaying();
});
sound.addEventListener("pause", showPlaying);
sound.addEventListener("ended", showPlaying);
watch("value", () => { sound.pause(); playing = null; });

// ---- the map: one stop of the tab key, arrow keys go to the next mark in their direction ----
const marks = () => [...part.querySelectorAll("[role=option]")];
const place = (mark) => mark.dataset.at.split(" ").map(Number);
const DIRECTIONS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

function neighbour(from, [right, down]) {
  const [x, y] = place(from);
  let best = null;
  let least = Infinity;
  for (const mark of marks()) {
    const [dx, dy] = [place(mark)[0] - x, place(mark)[1] - y];
    const ahead = dx * right + dy * down;
    const aside = Math.abs(dx * down) + Math.abs(dy * right);
    if (mark === from || ahead <= 0 || ahead + 2 * aside >= least) continue;
    best = mark;
    least = ahead + 2 * aside;
  }
  return best;
}

function focusMark(mark) {
  if (!mark) return;
  for (const other of part.querySelectorAll("[role=option][tabindex='0']")) other.setAttribute("tabindex", "-1");
  mark.setAttribute("tabindex", "0");
  mark.focus({ preventScroll: true });
}

function choose(mark) {
  for (const other of part.querySelectorAll("[aria-selected=true]")) other.setAttribute("aria-selected", "false");
  mark.setAttribute("aria-selected", "true");
  trigger("click", { point: mark.dataset.point });
}

element.addEventListener("click", (event) => {
  const found = event.target.closest("[data-audio], [data-open], [data-near], [data-point]");
  if (!found) return;
  const { audio, open, near, point } = found.dataset;
  if (audio) play(found);
  else if (open) trigger("click", { open });
  else if (near) trigger("click", { near });
  else if (point) {
    focusMark(found);
    choose(found);
  }
});

element.addEventListener("keydown", (event) => {
  const mark = event.target.closest("[role=option]");
  if (!mark || event.altKey || event.ctrlKey || event.metaKey) return;
  if (DIRECTIONS[event.key]) focusMark(neighbour(mark, DIRECTIONS[event.key]));
  else if (event.key === "Home") focusMark(marks()[0]);
  else if (event.key === "End") focusMark(marks().at(-1));
  else if (event.key === "Enter" || event.key === " ") choose(mark);
  else return;
  event.preventDefault();
});
