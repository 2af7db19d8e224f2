// Draws the timeline: waveform, emotions over time, segments and axis. `state` is the Timeline, of which the value, the
// view, the style and the place of the mouse are read.
import { fitCanvas, themed } from "./dom.js";
import { drawBands, drawLines, lineY } from "./drawing.js";
import { clock } from "./formatting.js";
import { peakAt, tickStep, toX, visiblePoints } from "./timeline_view.js";

const LANE = { wave: 64, waveAlone: 96, emotions: 132, strip: 24, axis: 22, gap: 8 };
const NAMED_FROM = 250; // per mille

function lanesOf(value) {
  const waveHeight = value.points.length ? LANE.wave : LANE.waveAlone;
  const wave = { top: 0, height: value.peaks[0].length ? waveHeight : 0 };
  if (!value.points.length) return { wave, axis: wave.height + LANE.gap };
  const emotions = { top: wave.height && wave.height + LANE.gap, height: LANE.emotions };
  const strip = { top: emotions.top + emotions.height + LANE.gap, height: LANE.strip };
  return { wave, emotions, strip, axis: strip.top + strip.height + 4 };
}

function useEmojiFont(brush) {
  brush.font = '14px "Apple Color Emoji", "Segoe UI Emoji", "Noto Color Emoji", sans-serif';
  brush.textAlign = "center";
  brush.textBaseline = "middle";
  brush.fillStyle = "#000";
}

export class TimelineDrawing {
  constructor(root, canvas, state) {
    this.root = root;
    this.canvas = canvas;
    this.state = state;
    this.pen = canvas.getContext("2d");
    this.picture = document.createElement("canvas"); // everything that does not move
  }

  get width() {
    return this.canvas.clientWidth;
  }

  toX(time_s) {
    return toX(this.state.view, this.width, time_s);
  }

  themed(name) {
    return themed(this.root, name);
  }

  redraw() {
    if (!this.state.value || !this.width) return;
    const lanes = lanesOf(this.state.value);
    const height = lanes.axis + LANE.axis;
    this.canvas.style.height = `${height}px`;
    const density = fitCanvas(this.canvas, this.width, height);
    fitCanvas(this.picture, this.width, height);
    const brush = this.picture.getContext("2d");
    brush.setTransform(density, 0, 0, density, 0, 0);
    brush.clearRect(0, 0, this.width, height);
    this.drawWave(brush, lanes.wave);
    if (lanes.emotions) {
      this.drawEmotions(brush, lanes.emotions);
      this.drawStrip(brush, lanes.strip);
      this.drawQuiet(brush, lanes);
    }
    this.drawAxis(brush, lanes);
    this.drawFrame();
  }

  // The picture, and on it what moves: the mark of the mouse and that of the sound.
  drawFrame() {
    const { value, hover_s, audio } = this.state;
    if (!value || !this.canvas.width) return;
    const density = window.devicePixelRatio || 1;
    this.pen.setTransform(1, 0, 0, 1, 0, 0);
    this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.pen.drawImage(this.picture, 0, 0);
    this.pen.setTransform(density, 0, 0, density, 0, 0);
    if (hover_s !== null) this.drawMark(hover_s, this.themed("--tl-muted"), 1);
    if (audio.currentTime > 0 || !audio.paused) this.drawMark(audio.currentTime, this.themed("--tl-playhead"), 2);
  }

  drawMark(time_s, color, thickness) {
    const x = this.toX(time_s);
    if (x < -1 || x > this.width + 1) return;
    this.pen.fillStyle = color;
    this.pen.fillRect(x - thickness / 2, 0, thickness, lanesOf(this.state.value).axis);
  }

  drawWave(brush, lane) {
    const { lanes, view } = this.state;
    const { width } = this;
    if (!lanes.peaks[0].length) return;
    const middle = lane.top + lane.height / 2;
    const scale = lane.height / 2 / 1000;
    brush.fillStyle = this.themed("--tl-wave");
    for (let x = 0; x < width; x += 1) {
      const [low, high] = peakAt(lanes, view, width, x);
      brush.fillRect(x, middle - high * scale, 1, Math.max((high - low) * scale, 1));
    }
  }

  drawEmotions(brush, lane) {
    const { lanes, view, value, style } = this.state;
    brush.save();
    brush.beginPath();
    brush.rect(0, lane.top, this.width, lane.height);
    brush.fillStyle = this.themed("--tl-ground");
    brush.fill();
    brush.clip();
    const places = visiblePoints(lanes, view, this.width, value.duration_s);
    const score = (row, k) => lanes.points[row][places[k].i] / 1000;
    (style === "bands" ? drawBands : drawLines)(brush, lane, value.labels, places.map(({ x }) => x), score);
    if (style === "lines") this.nameLines(brush, lane, places);
    brush.restore();
  }

  // A line is named where it is highest, so that nobody needs its colour.
  nameLines(brush, lane, places) {
    const { lanes, value } = this.state;
    const seen = places.filter(({ x }) => x > 12 && x < this.width - 12);
    useEmojiFont(brush);
    value.labels.forEach((label, row) => {
      const scores = lanes.points[row];
      const best = seen.reduce((a, b) => (scores[b.i] > scores[a.i] ? b : a), seen[0]);
      if (!best || scores[best.i] < NAMED_FROM) return;
      brush.fillText(label.emoji, best.x, lineY(lane, scores[best.i] / 1000) + 12);
    });
  }

  // Where nobody is heard the scores speak of noise: those stretches are veiled.
  drawQuiet(brush, { emotions, strip }) {
    brush.save();
    brush.globalAlpha = 0.78;
    brush.fillStyle = this.themed("--tl-ground");
    for (const [start, end] of this.state.value.quiet || []) {
      const [left, right] = this.seenOf(start, end);
      if (right > left) brush.fillRect(left, emotions.top, right - left, strip.top + strip.height - emotions.top);
    }
    brush.restore();
  }

  drawStrip(brush, lane) {
    const { value } = this.state;
    useEmojiFont(brush);
    for (const [start, end, row] of value.segments) {
      const [left, right] = this.seenOf(start, end);
      if (right <= left) continue;
      brush.fillStyle = value.labels[row].colour;
      brush.fillRect(left, lane.top, Math.max(right - left - 1, 1), lane.height);
      brush.fillStyle = "#000";
      const middle = lane.top + lane.height / 2 + 1;
      if (right - left > 26) brush.fillText(value.labels[row].emoji, (left + right) / 2, middle);
    }
  }

  seenOf(start_s, end_s) {
    return [Math.max(this.toX(start_s), 0), Math.min(this.toX(end_s), this.width)];
  }

  drawAxis(brush, { axis }) {
    const { view } = this.state;
    const step_s = tickStep(view, this.width);
    brush.font = "12px system-ui, sans-serif";
    brush.textBaseline = "top";
    for (let tick = Math.ceil(view.start / step_s); tick * step_s <= view.end; tick += 1) {
      const x = this.toX(tick * step_s);
      brush.fillStyle = this.themed("--tl-line");
      brush.fillRect(x, axis, 1, 5);
      brush.fillStyle = this.themed("--tl-muted");
      brush.textAlign = x < 20 ? "left" : x > this.width - 20 ? "right" : "center";
      const moment = clock(tick * step_s);
      brush.fillText(step_s < 1 ? moment : moment.slice(0, -2), x, axis + 7);
    }
  }
}
