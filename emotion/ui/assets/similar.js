// The tab Similar: buttons of recordings, and the map with mouse and keys.
import { pauseOthers } from "./dom.js";
import { mount as mountPatched } from "./patched.js";

const DIRECTIONS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

// Of places [x, y], the index of the next one from `from` in a direction [right, down]; -1 where there is none. What
// lies aside of the direction counts as twice as far.
export function nextMark(places, from, [right, down]) {
  const [x, y] = places[from];
  let best = -1;
  let least = Infinity;
  places.forEach((place, index) => {
    const [dx, dy] = [place[0] - x, place[1] - y];
    const ahead = dx * right + dy * down;
    const aside = Math.abs(dx * down) + Math.abs(dy * right);
    if (index === from || ahead <= 0 || ahead + 2 * aside >= least) return;
    best = index;
    least = ahead + 2 * aside;
  });
  return best;
}

// One player for all buttons; the one whose recording plays shows that it can be paused.
class Player {
  constructor(audio, part) {
    this.audio = audio;
    this.part = part;
    this.playing = null;
    audio.addEventListener("play", () => {
      pauseOthers(audio);
      this.show();
    });
    for (const name of ["pause", "ended"]) audio.addEventListener(name, () => this.show());
  }

  show() {
    for (const button of this.part.querySelectorAll("[data-audio]")) {
      const isOn = button === this.playing && !this.audio.paused;
      button.textContent = isOn ? "❚❚" : "▶";
      button.setAttribute("aria-label", isOn ? button.dataset.pause : button.dataset.play);
    }
  }

  toggle(button) {
    if (button === this.playing && !this.audio.paused) return this.audio.pause();
    this.playing = button;
    if (this.audio.getAttribute("src") !== button.dataset.audio) this.audio.src = button.dataset.audio;
    this.audio.play().catch(() => {}); // it is gone, or the browser refuses; the button stays as it is
  }

  stop() {
    this.audio.pause();
    this.playing = null;
  }
}

// One stop of the tab key; arrow keys go to the next mark in their direction.
class Marks {
  constructor(part, chosen) {
    this.part = part;
    this.chosen = chosen;
  }

  focus(mark) {
    if (!mark) return;
    for (const other of this.part.querySelectorAll("[role=option][tabindex='0']")) other.setAttribute("tabindex", "-1");
    mark.setAttribute("tabindex", "0");
    mark.focus({ preventScroll: true });
  }

  choose(mark) {
    const before = this.part.querySelectorAll("[aria-selected=true]");
    for (const other of before) other.setAttribute("aria-selected", "false");
    mark.setAttribute("aria-selected", "true");
    this.chosen(mark.dataset.point);
  }

  press(event) {
    const mark = event.target.closest("[role=option]");
    if (!mark || event.altKey || event.ctrlKey || event.metaKey) return;
    const marks = [...this.part.querySelectorAll("[role=option]")];
    const places = () => marks.map((each) => each.dataset.at.split(" ").map(Number));
    const direction = DIRECTIONS[event.key];
    if (direction) this.focus(marks[nextMark(places(), marks.indexOf(mark), direction)]);
    else if (event.key === "Home") this.focus(marks[0]);
    else if (event.key === "End") this.focus(marks.at(-1));
    else if (event.key === "Enter" || event.key === " ") this.choose(mark);
    else return;
    event.preventDefault();
  }
}

export function mount({ element, trigger, watch, ...rest }) {
  const { part } = mountPatched({ element, trigger, watch, ...rest });
  const player = new Player(element.querySelector("audio"), part);
  const marks = new Marks(part, (point) => trigger("click", { point }));
  element.addEventListener("click", (event) => {
    const found = event.target.closest("[data-audio], [data-open], [data-near], [data-point]");
    if (!found) return;
    const { audio, open, near } = found.dataset;
    if (audio) player.toggle(found);
    else if (open) trigger("click", { open });
    else if (near) trigger("click", { near });
    else if (found.dataset.point) {
      marks.focus(found);
      marks.choose(found);
    }
  });
  element.addEventListener("keydown", (event) => marks.press(event));
  watch("value", () => player.stop());
}
