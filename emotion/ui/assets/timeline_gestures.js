// What mouse, fingers and keys do to the timeline.
import { clamp } from "./formatting.js";
import { isWhole, toTime, zoomed } from "./timeline_view.js";

const CLICK_PX = 4; // so far a finger may move while it clicks
const CLOSEST_PINCH_PX = 8;
const ZOOM_OUT = 1.25;
const ZOOM_IN = 0.8;

export class Gestures {
  constructor(canvas, timeline) {
    this.canvas = canvas;
    this.timeline = timeline;
    this.fingers = new Map(); // x of each that touches
    this.grip = null; // where they were when the last one came
    const on = (name, act, options) => canvas.addEventListener(name, (event) => act.call(this, event), options);
    on("pointerdown", this.press);
    on("pointermove", this.move);
    on("pointerup", this.release);
    on("pointercancel", this.release);
    on("pointerleave", () => timeline.hover(null));
    on("wheel", this.turn, { passive: false });
    on("keydown", this.type);
    on("dblclick", () => timeline.showWhole());
  }

  get width() {
    return this.canvas.clientWidth;
  }

  xOf(event) {
    return clamp(event.clientX - this.canvas.getBoundingClientRect().left, 0, this.width);
  }

  pinchWidth() {
    const [a, b] = [...this.fingers.values()];
    return Math.max(Math.abs(a - b), CLOSEST_PINCH_PX);
  }

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, this.xOf(event));
    const count = this.fingers.size;
    const pinch = count === 2 ? this.pinchWidth() : 0;
    this.grip = { x: this.xOf(event), view: { ...this.timeline.view }, moved: count > 1, pinch };
  }

  move(event) {
    const x = this.xOf(event);
    if (!this.fingers.has(event.pointerId)) {
      this.timeline.hover(x);
      return;
    }
    this.fingers.set(event.pointerId, x);
    const { grip, timeline } = this;
    if (this.fingers.size === 2 && grip.pinch) {
      timeline.setView(zoomed(grip.view, grip.pinch / this.pinchWidth(), toTime(grip.view, this.width, grip.x)));
    } else if (grip.moved || Math.abs(x - grip.x) > CLICK_PX) {
      grip.moved = true;
      const shift_s = ((grip.x - x) / this.width) * (grip.view.end - grip.view.start);
      timeline.setView({ start: grip.view.start + shift_s, end: grip.view.end + shift_s });
    }
  }

  release(event) {
    const clicked = event.type === "pointerup" && this.grip && !this.grip.moved && this.fingers.size === 1;
    this.fingers.delete(event.pointerId);
    if (clicked) this.timeline.playFrom(toTime(this.timeline.view, this.width, this.xOf(event)));
  }

  turn(event) {
    const { timeline } = this;
    if (event.deltaY > 0 && isWhole(timeline.view, timeline.value.duration_s)) return; // the page scrolls on
    event.preventDefault();
    const around_s = toTime(timeline.view, this.width, this.xOf(event));
    timeline.setView(zoomed(timeline.view, event.deltaY > 0 ? ZOOM_OUT : ZOOM_IN, around_s));
  }

  type(event) {
    const { timeline } = this;
    const middle_s = (timeline.view.start + timeline.view.end) / 2;
    const acts = {
      " ": () => timeline.toggle(),
      ArrowRight: () => timeline.seek(timeline.audio.currentTime + 1),
      ArrowLeft: () => timeline.seek(timeline.audio.currentTime - 1),
      Home: () => timeline.seek(0),
      End: () => timeline.seek(timeline.value.duration_s),
      "+": () => timeline.setView(zoomed(timeline.view, ZOOM_IN, middle_s)),
      "-": () => timeline.setView(zoomed(timeline.view, ZOOM_OUT, middle_s)),
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }
}
