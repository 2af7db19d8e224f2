// The curve of the live tab: the emotions of the last seconds, up to now at its right end.
import { fitCanvas, themed } from "./dom.js";
import { drawBands, drawLines } from "./drawing.js";
import { clamp, filled } from "./formatting.js";

// It is as long as what was heard, within these bounds.
const SHORTEST_S = 20;
const LONGEST_S = 60;
const KEPT_BEYOND_S = 10;
const AXIS = 22;
const TICK_ROOM = 78;
const HATCH = 12;

const kindOf = (moment) => (moment.scores ? "scores" : moment.is_silent ? "silence" : "none");

// Neighbouring moments of one kind, each as the points that its drawing goes through. A moment speaks of the time
// since the one before it, the first one of `every_s`.
export function stretchesOf(moments, every_s) {
  const found = [];
  moments.forEach((moment, i) => {
    const from_s = i ? moments[i - 1].time_s : moment.time_s - every_s;
    const open = found[found.length - 1];
    if (open && open.kind === kindOf(moment)) {
      open.points.push({ time_s: moment.time_s, scores: moment.scores });
    } else {
      const points = [from_s, moment.time_s].map((time_s) => ({ time_s, scores: moment.scores }));
      found.push({ kind: kindOf(moment), points });
    }
  });
  return found;
}

export const secondsShown = (heard_s) => clamp(heard_s, SHORTEST_S, LONGEST_S);

// Seconds between two marks of the axis.
export const tickStep = (span_s, width) => [5, 10, 20].find((step_s) => (step_s / span_s) * width > TICK_ROOM) || 30;

export class LiveCurve {
  constructor(root, canvas) {
    this.root = root;
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.value = null; // words and labels
    this.style = "bands";
    this.every_s = 0.5;
    this.clear();
  }

  clear() {
    this.moments = [];
    this.end_s = 0;
  }

  get latest() {
    return this.moments.at(-1);
  }

  add(moment) {
    this.moments.push(moment);
    while (this.moments[0].time_s < moment.time_s - LONGEST_S - KEPT_BEYOND_S) this.moments.shift();
  }

  get width() {
    return this.canvas.clientWidth;
  }

  get height() {
    return this.canvas.clientHeight - AXIS;
  }

  toX(time_s) {
    return this.width * (1 - (this.end_s - time_s) / secondsShown(this.end_s));
  }

  themed(name) {
    return themed(this.root, name);
  }

  draw(heard_s) {
    const { pen, width, height, canvas } = this;
    if (!this.value || !width) return;
    const density = fitCanvas(canvas, width, canvas.clientHeight);
    this.end_s = Math.max(heard_s, this.latest ? this.latest.time_s : 0);
    pen.setTransform(density, 0, 0, density, 0, 0);
    pen.clearRect(0, 0, width, canvas.clientHeight);
    pen.fillStyle = this.themed("--lv-ground");
    pen.fillRect(0, 0, width, height);
    for (const { kind, points } of stretchesOf(this.moments, this.every_s)) {
      if (this.toX(points.at(-1).time_s) <= 0) continue;
      if (kind === "silence") this.drawSilence(points);
      if (kind === "scores") this.drawScores(points);
    }
    if (!this.latest) this.drawHint();
    this.drawAxis();
  }

  drawScores(points) {
    const { labels } = this.value;
    const area = { top: 0, height: this.height };
    const score = (row, k) => points[k].scores[labels[row].key] || 0;
    const xs = points.map((point) => this.toX(point.time_s));
    (this.style === "bands" ? drawBands : drawLines)(this.pen, area, labels, xs, score);
  }

  drawSilence(points) {
    const { pen, height } = this;
    const left = Math.max(this.toX(points[0].time_s), 0);
    const right = this.toX(points.at(-1).time_s);
    pen.save();
    pen.beginPath();
    pen.rect(left, 0, right - left, height);
    pen.clip();
    pen.strokeStyle = this.themed("--lv-hatch");
    pen.lineWidth = 3;
    // The hatch hangs on the time, so that it moves with it.
    for (let x = (this.toX(0) % HATCH) - height - HATCH; x < right; x += HATCH) {
      pen.beginPath();
      pen.moveTo(x, height);
      pen.lineTo(x + height, 0);
      pen.stroke();
    }
    this.nameSilence(left, right);
    pen.restore();
  }

  nameSilence(left, right) {
    const { pen, value } = this;
    this.useFont("13px", "center", "middle");
    const room = pen.measureText(value.words.silence).width + 12;
    pen.translate((left + right) / 2, this.height / 2);
    if (right - left < room) pen.rotate(-Math.PI / 2);
    if (right - left <= 20) return;
    pen.fillStyle = this.themed("--lv-ground");
    pen.fillRect(-room / 2, -10, room, 20);
    pen.fillStyle = this.themed("--lv-muted");
    pen.fillText(value.words.silence, 0, 0);
  }

  drawHint() {
    this.useFont("14px", "center", "middle");
    this.pen.fillStyle = this.themed("--lv-muted");
    this.pen.fillText(this.value.words.curve_hint, this.width / 2, this.height / 2);
  }

  drawAxis() {
    const { pen, width, height, value } = this;
    const span_s = secondsShown(this.end_s);
    this.useFont("12px", "center", "top");
    for (let ago_s = 0; ago_s <= span_s; ago_s += tickStep(span_s, width)) {
      const x = clamp(this.toX(this.end_s - ago_s), 0, width - 1);
      const text = ago_s ? filled(value.words.ago, { seconds: ago_s }) : value.words.now;
      const room = pen.measureText(text).width / 2;
      pen.fillStyle = this.themed("--lv-line");
      pen.fillRect(x, height, 1, 5);
      pen.fillStyle = this.themed("--lv-muted");
      pen.fillText(text, clamp(x, room, width - room), height + 7);
    }
  }

  useFont(size, align, baseline) {
    this.pen.font = `${size} system-ui, sans-serif`;
    this.pen.textAlign = align;
    this.pen.textBaseline = baseline;
  }
}
