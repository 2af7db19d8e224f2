// The timeline: waveform, emotion over time and segments on one time axis. `props.value` is what
// emotion/ui/timeline_data.py makes, or null.
import { append, appendLabel, pauseOthers } from "./dom.js";
import { clamp, clock } from "./formatting.js";
import { onThemeChange } from "./gradio_adapter.js";
import { TimelineDrawing } from "./timeline_drawing.js";
import { Gestures } from "./timeline_gestures.js";
import { detailStretch, fitView, isWhole, toTime, topThree, unpackLanes } from "./timeline_view.js";

const DETAIL_AFTER_MS = 120;
const PRESENT_FROM = 50; // per mille

class Timeline {
  constructor(root) {
    this.root = root;
    this.canvas = this.find("canvas");
    this.audio = this.find("audio");
    this.tip = this.find(".tl-tip");
    this.value = null;
    this.detail = null; // finer lanes of a stretch: { start, end, lanes }
    this.detailTimer = 0;
    this.view = { start: 0, end: 1 };
    this.style = "bands";
    this.hover_s = null;
    this.drawing = new TimelineDrawing(root, this.canvas, this);
    new Gestures(this.canvas, this);
    this.listen();
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  listen() {
    const { audio, canvas, drawing } = this;
    audio.addEventListener("play", () => {
      pauseOthers(audio);
      this.showPlaying();
      this.follow();
    });
    audio.addEventListener("pause", () => {
      if (!this.value) return;
      this.showPlaying();
      this.showMoment();
    });
    audio.addEventListener("seeked", () => this.showMoment());
    this.find(".tl-whole").addEventListener("click", () => this.showWhole());
    this.find(".tl-play").addEventListener("click", () => this.toggle());
    this.find(".tl-styles").addEventListener("click", (event) => this.choose(event.target.dataset.style));
    new ResizeObserver(() => drawing.redraw()).observe(canvas);
    onThemeChange(() => drawing.redraw());
  }

  // Peaks and points of what is seen: fine ones of the view if they have come, else those of the whole recording.
  get lanes() {
    const { detail, view, value } = this;
    return detail && detail.start <= view.start && detail.end >= view.end ? detail.lanes : value;
  }

  // ---- what is seen ----
  setView({ start, end }) {
    this.view = fitView(start, end, this.value.duration_s);
    this.find(".tl-whole").hidden = isWhole(this.view, this.value.duration_s);
    this.drawing.redraw();
    clearTimeout(this.detailTimer);
    this.detailTimer = setTimeout(() => this.fetchDetail(), DETAIL_AFTER_MS);
  }

  showWhole() {
    this.setView({ start: 0, end: this.value.duration_s });
  }

  async fetchDetail() {
    const asked = this.value;
    const stretch = asked?.details && detailStretch(this.view, this.canvas.clientWidth, asked.duration_s, this.lanes);
    if (!stretch) return;
    try {
      const answer = await fetch(`${asked.details}?start_s=${stretch.start}&end_s=${stretch.end}`);
      if (!answer.ok || asked !== this.value) return;
      this.detail = { ...stretch, lanes: unpackLanes(await answer.json()) };
      this.drawing.redraw();
    } catch {
      // Without a server the coarse lanes stay.
    }
  }

  choose(style) {
    if (!style) return;
    this.style = style;
    this.showStyle();
    this.drawing.redraw();
  }

  // The mouse is at x, or null: nowhere.
  hover(x) {
    this.hover_s = x === null ? null : toTime(this.view, this.canvas.clientWidth, x);
    if (x === null) this.tip.hidden = true;
    else this.showTip(x);
    this.drawing.drawFrame();
  }

  showTip(x) {
    const { tip, hover_s, value } = this;
    const width = this.canvas.clientWidth;
    const isQuiet = value.points.length && value.quiet.some(([start, end]) => hover_s >= start && hover_s < end);
    tip.replaceChildren();
    append(tip, "b", clock(hover_s) + (isQuiet ? ` · ${value.words.quiet}` : ""));
    for (const { label, score } of topThree(this.lanes, value.labels, hover_s)) {
      const row = append(tip, "p", "");
      appendLabel(row, "span", label);
      append(row, "i", `${(score / 10).toFixed(1)}%`);
    }
    tip.hidden = false;
    tip.style.left = `${clamp(x + 14, 0, Math.max(width - tip.offsetWidth, 0))}px`;
    if (x + 14 + tip.offsetWidth > width) tip.style.left = `${Math.max(x - 14 - tip.offsetWidth, 0)}px`;
  }

  // ---- sound ----
  playFrom(time_s) {
    if (!this.value.audio) return;
    this.audio.currentTime = clamp(time_s, 0, this.value.duration_s);
    this.audio.play().catch(() => {}); // the browser may refuse; the playhead then waits where it is
    this.showMoment();
  }

  toggle() {
    if (!this.value.audio) return;
    if (this.audio.paused) this.audio.play().catch(() => {});
    else this.audio.pause();
  }

  seek(time_s) {
    this.audio.currentTime = clamp(time_s, 0, this.value.duration_s);
    this.showMoment();
  }

  showMoment() {
    this.showClock();
    this.drawing.drawFrame();
  }

  follow() {
    this.showMoment();
    if (!this.audio.paused) requestAnimationFrame(() => this.follow());
  }

  showClock() {
    this.find(".tl-clock").textContent = `${clock(this.audio.currentTime)} / ${clock(this.value.duration_s)}`;
  }

  showPlaying() {
    const { paused } = this.audio;
    const play = this.find(".tl-play");
    play.textContent = paused ? "▶" : "❚❚";
    play.title = this.value.words[paused ? "play" : "pause"];
    play.setAttribute("aria-label", play.title);
  }

  // ---- a new analysis ----
  show(packed) {
    this.value = packed ? unpackLanes(packed) : null;
    this.detail = null;
    this.root.hidden = !this.value;
    this.hover_s = null;
    this.tip.hidden = true;
    this.audio.pause();
    if (this.value?.audio) this.audio.src = this.value.audio;
    else this.audio.removeAttribute("src");
    if (!this.value) return;
    const { audio, points, words } = this.value;
    this.find(".tl-play").hidden = !audio;
    this.canvas.setAttribute("aria-label", `${words.title}. ${words.keys}`);
    this.find(".tl-hint").textContent = points.length ? words.hint : words.frame_hint;
    this.find(".tl-whole").textContent = words.whole;
    this.showPlaying();
    this.showClock();
    this.showStyle();
    this.showLegend();
    this.showSegments();
    this.showWhole();
  }

  showStyle() {
    this.find(".tl-styles").hidden = !this.value.points.length;
    for (const button of this.root.querySelectorAll(".tl-styles button")) {
      button.textContent = this.value.words[button.dataset.style];
      button.setAttribute("aria-pressed", String(button.dataset.style === this.style));
    }
  }

  showLegend() {
    const legend = this.find(".tl-legend");
    const { labels, points } = this.value;
    legend.replaceChildren();
    labels.forEach((label, row) => {
      if (!points.length || Math.max(...points[row]) < PRESENT_FROM) return;
      appendLabel(legend, "b", label).style.setProperty("--colour", label.colour);
    });
  }

  showSegments() {
    const { words, segments, segment_count: count } = this.value;
    this.find(".tl-segments").hidden = !segments.length;
    this.find(".tl-segments summary").textContent = words.table.replace("{count}", count);
    const titles = document.createElement("tr");
    for (const title of [words.start, words.end, words.emotion, words.score]) append(titles, "th", title);
    this.find("thead").replaceChildren(titles);
    this.find("tbody").replaceChildren(...segments.map((segment) => this.segmentRow(segment)));
  }

  segmentRow([start, end, label, score]) {
    const row = document.createElement("tr");
    const button = append(append(row, "td", ""), "button", `▶ ${clock(start)}`);
    button.type = "button";
    button.addEventListener("click", () => this.playFrom(start));
    append(row, "td", clock(end));
    appendLabel(row, "td", this.value.labels[label]);
    append(row, "td", (score / 1000).toFixed(3));
    return row;
  }
}

// The template never changes, so that Gradio leaves the canvas alone and the script alone draws the value.
export function mount({ element, props, watch }) {
  const timeline = new Timeline(element.querySelector(".timeline"));
  const isFirstTab = element.closest("#timeline") !== null;

  function show() {
    if (props.value && isFirstTab) sessionStorage.setItem("clip", props.value.clip);
    timeline.show(props.value);
  }

  watch("value", show);
  show();
}
