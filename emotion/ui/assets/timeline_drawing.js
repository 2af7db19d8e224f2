// The drawing half of timeline.js, which it precedes: reads `value`, `view`, `style`, `hover_s` and draws the canvas.
const LANE = { wave: 64, waveAlone: 96, emotions: 132, strip: 24, axis: 22, gap: 8 };

// Peaks and points of what is seen: fine ones of the view if they have come, else those of the whole recording.
function drawn() {
  return detail && detail.start <= view.start && detail.end >= view.end ? detail.lanes : value;
}

function lanes() {
  const waveHeight = value.points.length ? LANE.wave : LANE.waveAlone;
  const wave = { top: 0, height: value.peaks[0].length ? waveHeight : 0 };
  if (!value.points.length) return { wave, axis: wave.height + LANE.gap };
  const emotions = { top: wave.height && wave.height + LANE.gap, height: LANE.emotions };
  const strip = { top: emotions.top + emotions.height + LANE.gap, height: LANE.strip };
  return { wave, emotions, strip, axis: strip.top + strip.height + 4 };
}

const themed = (name) => getComputedStyle(root).getPropertyValue(name).trim();

function redraw() {
  if (!value || !width()) return;
  const place = lanes();
  const height = place.axis + LANE.axis;
  const density = window.devicePixelRatio || 1;
  canvas.style.height = height + "px";
  for (const sheet of [canvas, picture]) {
    sheet.width = Math.round(width() * density);
    sheet.height = Math.round(height * density);
  }
  const brush = picture.getContext("2d");
  brush.scale(density, density);
  drawWave(brush, place.wave);
  if (place.emotions) {
    drawEmotions(brush, place.emotions);
    drawStrip(brush, place.strip);
    drawQuiet(brush, place);
  }
  drawAxis(brush, place);
  drawFrame();
}

function drawFrame() {
  if (!value || !canvas.width) return;
  const density = window.devicePixelRatio || 1;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(picture, 0, 0);
  pen.setTransform(density, 0, 0, density, 0, 0);
  if (hover_s !== null) drawMark(hover_s, themed("--tl-muted"), 1);
  if (audio.currentTime > 0 || !audio.paused) drawMark(audio.currentTime, themed("--tl-playhead"), 2);
}

function drawMark(time_s, colour, thickness) {
  const x = toX(time_s);
  if (x < -1 || x > width() + 1) return;
  pen.fillStyle = colour;
  pen.fillRect(x - thickness / 2, 0, thickness, lanes().axis);
}

function drawWave(brush, lane) {
  const { peaks: [low, high], peaks_start_s: start_s, peak_s } = drawn();
  if (!low.length) return;
  const middle = lane.top + lane.height / 2;
  const scale = lane.height / 2 / 1000;
  brush.fillStyle = themed("--tl-wave");
  for (let x = 0; x < width(); x += 1) {
    const first = clamp(Math.floor((toTime(x) - start_s) / peak_s), 0, low.length - 1);
    const last = clamp(Math.ceil((toTime(x + 1) - start_s) / peak_s), first + 1, low.length);
    const bottom = Math.min(...low.slice(first, last));
    const top = Math.max(...high.slice(first, last));
    brush.fillRect(x, middle - top * scale, 1, Math.max((top - bottom) * scale, 1));
  }
}

// The points in view and one on either side, with the x of their middles; the first and last reach the clip's ends. Of
// more points than pixels every second or third does: the curve is smoothed, and zooming then keeps up with the wheel.
function visiblePoints() {
  const { points, points_start_s: start_s, point_s } = drawn();
  const count = points[0].length;
  const first = clamp(Math.floor((view.start - start_s) / point_s) - 1, 0, count - 1);
  const last = clamp(Math.ceil((view.end - start_s) / point_s) + 1, first, count - 1);
  const stride = Math.max(Math.floor((last - first) / width()), 1);
  const places = [];
  for (let k = first; k < last + stride; k += stride) {
    const i = Math.min(k, last);
    const middle_s = start_s + (i + 0.5) * point_s;
    const edge_s = i === 0 ? start_s : i === count - 1 ? start_s + count * point_s : middle_s;
    places.push({ i, x: toX(Math.min(edge_s, value.duration_s)) });
  }
  return places;
}

function drawEmotions(brush, lane) {
  brush.save();
  brush.beginPath();
  brush.rect(0, lane.top, width(), lane.height);
  brush.fillStyle = themed("--tl-ground");
  brush.fill();
  brush.clip();
  (style === "bands" ? drawBands : drawLines)(brush, lane, visiblePoints());
  brush.restore();
}

function drawBands(brush, lane, places) {
  const below = new Array(places.length).fill(0);
  const { points } = drawn();
  value.labels.forEach((label, row) => {
    const scores = points[row];
    brush.beginPath();
    places.forEach((place, k) => brush.lineTo(place.x, lane.top + lane.height * (1 - below[k] / 1000)));
    for (let k = places.length - 1; k >= 0; k -= 1) {
      below[k] += scores[places[k].i];
      brush.lineTo(places[k].x, lane.top + lane.height * (1 - below[k] / 1000));
    }
    brush.closePath();
    brush.fillStyle = label.colour;
    brush.fill();
  });
}

function drawLines(brush, lane, places) {
  brush.lineWidth = 2;
  brush.lineJoin = "round";
  const { points } = drawn();
  const toY = (score) => lane.top + 2 + (lane.height - 4) * (1 - score / 1000);
  value.labels.forEach((label, row) => {
    const scores = points[row];
    brush.beginPath();
    places.forEach((place) => brush.lineTo(place.x, toY(scores[place.i])));
    brush.strokeStyle = label.colour;
    brush.stroke();
  });
  // A line is named where it is highest, so that nobody needs its colour.
  emojiBrush(brush);
  value.labels.forEach((label, row) => {
    const seen = places.filter((place) => place.x > 12 && place.x < width() - 12);
    const best = seen.reduce((a, b) => (points[row][b.i] > points[row][a.i] ? b : a), seen[0]);
    if (best && points[row][best.i] >= 250) brush.fillText(label.emoji, best.x, toY(points[row][best.i]) + 12);
  });
}

function emojiBrush(brush) {
  brush.font = '14px "Apple Color Emoji", "Segoe UI Emoji", "Noto Color Emoji", sans-serif';
  brush.textAlign = "center";
  brush.textBaseline = "middle";
  brush.fillStyle = "#000";
}

// Where nobody is heard the scores speak of noise: those stretches are veiled.
function drawQuiet(brush, place) {
  brush.save();
  brush.globalAlpha = 0.78;
  brush.fillStyle = themed("--tl-ground");
  for (const [start, end] of value.quiet || []) {
    const left = Math.max(toX(start), 0);
    const right = Math.min(toX(end), width());
    if (right > left) brush.fillRect(left, place.emotions.top, right - left, place.strip.top + place.strip.height - place.emotions.top);
  }
  brush.restore();
}

function drawStrip(brush, lane) {
  emojiBrush(brush);
  for (const [start, end, row] of value.segments) {
    const left = Math.max(toX(start), 0);
    const right = Math.min(toX(end), width());
    if (right <= left) continue;
    brush.fillStyle = value.labels[row].colour;
    brush.fillRect(left, lane.top, Math.max(right - left - 1, 1), lane.height);
    brush.fillStyle = "#000";
    if (right - left > 26) brush.fillText(value.labels[row].emoji, (left + right) / 2, lane.top + lane.height / 2 + 1);
  }
}

function drawAxis(brush, place) {
  const steps = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
  const wanted_s = (view.end - view.start) / Math.max(width() / 90, 2);
  const step_s = steps.find((step) => step >= wanted_s) || 3600;
  brush.font = "12px system-ui, sans-serif";
  brush.textBaseline = "top";
  for (let tick = Math.ceil(view.start / step_s); tick * step_s <= view.end; tick += 1) {
    const x = toX(tick * step_s);
    brush.fillStyle = themed("--tl-line");
    brush.fillRect(x, place.axis, 1, 5);
    brush.fillStyle = themed("--tl-muted");
    brush.textAlign = x < 20 ? "left" : x > width() - 20 ? "right" : "center";
    const moment = clock(tick * step_s);
    brush.fillText(step_s < 1 ? moment : moment.slice(0, -2), x, place.axis + 7);
  }
}

