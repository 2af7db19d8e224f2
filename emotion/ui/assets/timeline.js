// The timeline: waveform, emotion over time and segments on one time axis. Runs as `js_on_load` of its gr.HTML, which
// gives `element`, `props` and `watch`; `props.value` is what emotion/ui/lanes.py makes, or null.
const root = element.querySelector(".timeline");
const find = (selector) => root.querySelector(selector);
const canvas = find("canvas");
const pen = canvas.getContext("2d");
const picture = document.createElement("canvas"); // everything that does not move
const tip = find(".tl-tip");
const audio = find("audio");
const SHORTEST_VIEW_S = 0.25;
const DETAIL_AFTER_MS = 120;

let value = null;
let detail = null; // { start, end, lanes }: finer lanes of a stretch, see emotion/ui/details.py
let detailTimer = 0;
let view = { start: 0, end: 1 };
let style = "bands";
let hover_s = null;

// Lanes come as text, see emotion/ui/lanes.py: base64 of little-endian int16.
function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Int16Array(bytes.buffer);
}

const unpacked = (lanes) => ({ ...lanes, peaks: lanes.peaks.map(unpack), points: lanes.points.map(unpack) });

// ---- time and place ----
const width = () => canvas.clientWidth;
const toX = (time_s) => ((time_s - view.start) / (view.end - view.start)) * width();
const toTime = (x) => view.start + (x / width()) * (view.end - view.start);
const clamp = (number, low, high) => Math.min(Math.max(number, low), high);
const isWhole = () => view.end - view.start >= value.duration_s - 1e-6;

function clock(time_s) {
  const tenths = Math.round(time_s * 10);
  const minutes = Math.floor(tenths / 600);
  const seconds = String(Math.floor((tenths % 600) / 10)).padStart(2, "0") + "." + (tenths % 10);
  if (minutes < 60) return minutes + ":" + seconds;
  return Math.floor(minutes / 60) + ":" + String(minutes % 60).padStart(2, "0") + ":" + seconds;
}

function setView(start, end) {
  const span = clamp(end - start, Math.min(SHORTEST_VIEW_S, value.duration_s), value.duration_s);
  const from = clamp(start, 0, value.duration_s - span);
  view = { start: from, end: from + span };
  find(".tl-whole").hidden = isWhole();
  redraw();
  clearTimeout(detailTimer);
  detailTimer = setTimeout(fetchDetail, DETAIL_AFTER_MS);
}

// Lanes of the view and as much on either side, once the steps of what is drawn are wider than two pixels.
async function fetchDetail() {
  const asked = value;
  const span = view.end - view.start;
  const step_s = Math.max(drawn().points.length ? drawn().point_s : 0, drawn().peaks[0].length ? drawn().peak_s : 0);
  if (!asked.details || isWhole() || (step_s / span) * width() < 2 || step_s <= 0.02 + 1e-9) return;
  const start = Math.max(view.start - span, 0);
  const end = Math.min(view.end + span, asked.duration_s);
  try {
    const answer = await fetch(`${asked.details}?start_s=${start}&end_s=${end}`);
    if (!answer.ok || asked !== value) return;
    detail = { start, end, lanes: unpacked(await answer.json()) };
    redraw();
  } catch {
    // Without a server the coarse lanes stay.
  }
}

function zoom(factor, around_s) {
  const left = (around_s - view.start) * factor;
  const right = (view.end - around_s) * factor;
  setView(around_s - left, around_s + right);
}

// ---- words ----
function topThree(time_s) {
  if (!value.points.length) return [];
  const { points, points_start_s: start_s, point_s } = drawn();
  const i = clamp(Math.floor((time_s - start_s) / point_s), 0, points[0].length - 1);
  const scored = value.labels.map((label, row) => ({ label, score: points[row][i] }));
  return scored.sort((a, b) => b.score - a.score).slice(0, 3);
}

function line(parent, tag, text, kind) {
  const child = document.createElement(tag);
  child.textContent = text;
  if (kind) child.className = kind;
  parent.append(child);
  return child;
}

function labelled(parent, tag, label) {
  const child = line(parent, tag, "");
  line(child, "span", label.emoji, "emoji").setAttribute("aria-hidden", "true");
  child.append(" " + label.name);
  return child;
}

const isQuiet = (time_s) => value.points.length && value.quiet.some(([start, end]) => time_s >= start && time_s < end);

function showTip(x) {
  tip.replaceChildren();
  line(tip, "b", clock(hover_s) + (isQuiet(hover_s) ? " · " + value.words.quiet : ""));
  for (const { label, score } of topThree(hover_s)) {
    const row = line(tip, "p", "");
    labelled(row, "span", label);
    line(row, "i", (score / 10).toFixed(1) + "%");
  }
  tip.hidden = false;
  tip.style.left = clamp(x + 14, 0, Math.max(width() - tip.offsetWidth, 0)) + "px";
  if (x + 14 + tip.offsetWidth > width()) tip.style.left = Math.max(x - 14 - tip.offsetWidth, 0) + "px";
}

function showClock() {
  find(".tl-clock").textContent = `${clock(audio.currentTime)} / ${clock(value.duration_s)}`;
}

function showPlaying() {
  const name = audio.paused ? value.words.play : value.words.pause;
  find(".tl-play").textContent = audio.paused ? "▶" : "❚❚";
  find(".tl-play").setAttribute("aria-label", name);
  find(".tl-play").title = name;
}

function showLegend() {
  const legend = find(".tl-legend");
  legend.replaceChildren();
  value.labels.forEach((label, row) => {
    const present = value.points.length && Math.max(...value.points[row]) >= 50;
    if (!present) return;
    const entry = labelled(legend, "b", label);
    entry.style.setProperty("--colour", label.colour);
  });
}

function showSegments() {
  const words = value.words;
  find(".tl-segments").hidden = !value.segments.length;
  find(".tl-segments summary").textContent = words.table.replace("{count}", value.segment_count);
  const titles = document.createElement("tr");
  [words.start, words.end, words.emotion, words.score].forEach((title) => line(titles, "th", title));
  find("thead").replaceChildren(titles);
  const rows = value.segments.map(([start, end, row, score]) => {
    const entry = document.createElement("tr");
    const button = line(line(entry, "td", ""), "button", "▶ " + clock(start));
    button.type = "button";
    button.addEventListener("click", () => playFrom(start));
    line(entry, "td", clock(end));
    labelled(entry, "td", value.labels[row]);
    line(entry, "td", (score / 1000).toFixed(3));
    return entry;
  });
  find("tbody").replaceChildren(...rows);
}

function showStyle() {
  find(".tl-styles").hidden = !value.points.length;
  root.querySelectorAll(".tl-styles button").forEach((button) => {
    button.textContent = value.words[button.dataset.style];
    button.setAttribute("aria-pressed", String(button.dataset.style === style));
  });
}

// ---- sound ----
function playFrom(time_s) {
  if (!value.audio) return;
  audio.currentTime = clamp(time_s, 0, value.duration_s);
  audio.play().catch(() => {}); // the browser may refuse; the playhead then waits where it is
  showMoment();
}

function toggle() {
  if (!value.audio) return;
  if (audio.paused) audio.play().catch(() => {});
  else audio.pause();
}

function seek(time_s) {
  audio.currentTime = clamp(time_s, 0, value.duration_s);
  showMoment();
}

function showMoment() {
  showClock();
  drawFrame();
}

function follow() {
  showMoment();
  if (!audio.paused) requestAnimationFrame(follow);
}

audio.addEventListener("play", () => {
  document.querySelectorAll("audio").forEach((other) => other !== audio && other.pause());
  showPlaying();
  follow();
});
audio.addEventListener("pause", () => { showPlaying(); showMoment(); });
audio.addEventListener("seeked", showMoment);

// ---- mouse, fingers, keys ----
const fingers = new Map();
let grip = null;

const xOf = (event) => clamp(event.clientX - canvas.getBoundingClientRect().left, 0, width());

function pinchWidth() {
  const [a, b] = [...fingers.values()];
  return Math.max(Math.abs(a - b), 8);
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, xOf(event));
  grip = { x: xOf(event), view: { ...view }, moved: fingers.size > 1, pinch: fingers.size === 2 ? pinchWidth() : 0 };
});

canvas.addEventListener("pointermove", (event) => {
  const x = xOf(event);
  if (!fingers.has(event.pointerId)) {
    hover_s = toTime(x);
    showTip(x);
    drawFrame();
    return;
  }
  fingers.set(event.pointerId, x);
  if (fingers.size === 2 && grip.pinch) {
    view = { ...grip.view };
    const factor = grip.pinch / pinchWidth();
    const around_s = grip.view.start + (grip.x / width()) * (grip.view.end - grip.view.start);
    setView(around_s - (around_s - grip.view.start) * factor, around_s + (grip.view.end - around_s) * factor);
  } else if (grip.moved || Math.abs(x - grip.x) > 4) {
    grip.moved = true;
    const shift_s = ((grip.x - x) / width()) * (grip.view.end - grip.view.start);
    setView(grip.view.start + shift_s, grip.view.end + shift_s);
  }
});

function release(event) {
  const clicked = event.type === "pointerup" && grip && !grip.moved && fingers.size === 1;
  fingers.delete(event.pointerId);
  if (clicked) playFrom(toTime(xOf(event)));
}
canvas.addEventListener("pointerup", release);
canvas.addEventListener("pointercancel", release);

canvas.addEventListener("pointerleave", () => {
  hover_s = null;
  tip.hidden = true;
  drawFrame();
});

canvas.addEventListener("wheel", (event) => {
  if (event.deltaY > 0 && isWhole()) return; // nothing to zoom out of: the page scrolls on
  event.preventDefault();
  zoom(event.deltaY > 0 ? 1.25 : 0.8, toTime(xOf(event)));
}, { passive: false });

const KEYS = {
  " ": toggle,
  ArrowRight: () => seek(audio.currentTime + 1),
  ArrowLeft: () => seek(audio.currentTime - 1),
  Home: () => seek(0),
  End: () => seek(value.duration_s),
  "+": () => zoom(0.8, (view.start + view.end) / 2),
  "-": () => zoom(1.25, (view.start + view.end) / 2),
};
canvas.addEventListener("keydown", (event) => {
  if (!KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

canvas.addEventListener("dblclick", () => setView(0, value.duration_s));
find(".tl-whole").addEventListener("click", () => setView(0, value.duration_s));
find(".tl-play").addEventListener("click", toggle);
find(".tl-styles").addEventListener("click", (event) => {
  if (!event.target.dataset.style) return;
  style = event.target.dataset.style;
  showStyle();
  redraw();
});

// ---- a new analysis ----
function show() {
  value = props.value ? unpacked(props.value) : null;
  detail = null;
  root.hidden = !value;
  hover_s = null;
  tip.hidden = true;
  audio.pause();
  if (!value) {
    audio.removeAttribute("src");
    return;
  }
  if (value.audio) audio.src = value.audio;
  else audio.removeAttribute("src");
  if (element.closest("#timeline")) sessionStorage.setItem("clip", value.clip);
  find(".tl-play").hidden = !value.audio;
  canvas.setAttribute("aria-label", `${value.words.title}. ${value.words.keys}`);
  find(".tl-hint").textContent = value.points.length ? value.words.hint : value.words.frame_hint;
  find(".tl-whole").textContent = value.words.whole;
  showPlaying();
  showClock();
  showStyle();
  showLegend();
  showSegments();
  setView(0, value.duration_s);
}

new ResizeObserver(() => redraw()).observe(canvas);
new MutationObserver(() => redraw()).observe(document.body, { attributes: true, attributeFilter: ["class"] });
watch("value", show);
show();
