// The arithmetic of the timeline: times, places and steps, without a page. A view is { start, end } in seconds; lanes
// are what `detail` of emotion/ui/timeline_data.py makes, with typed arrays.
import { clamp } from "./formatting.js";

const SHORTEST_VIEW_S = 0.25;
const FINEST_STEP_S = 0.02;
const TICKS_S = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];

// Lanes come as text: base64 of little-endian int16.
function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Int16Array(bytes.buffer);
}

export const unpackLanes = (lanes) => ({ ...lanes, peaks: lanes.peaks.map(unpack), points: lanes.points.map(unpack) });

export const toX = (view, width, time_s) => ((time_s - view.start) / (view.end - view.start)) * width;
export const toTime = (view, width, x) => view.start + (x / width) * (view.end - view.start);
export const isWhole = (view, duration_s) => view.end - view.start >= duration_s - 1e-6;

// The view from start to end, moved and stretched to what can be seen of a recording.
export function fitView(start, end, duration_s) {
  const span = clamp(end - start, Math.min(SHORTEST_VIEW_S, duration_s), duration_s);
  const from = clamp(start, 0, duration_s - span);
  return { start: from, end: from + span };
}

// The view made longer by a factor; what is at `around_s` stays in its place.
export function zoomed(view, factor, around_s) {
  return { start: around_s - (around_s - view.start) * factor, end: around_s + (view.end - around_s) * factor };
}

// The stretch of which finer lanes are wanted: the view and as much on either side, once the steps of what is drawn are
// wider than two pixels; null where they are fine enough.
export function detailStretch(view, width, duration_s, lanes) {
  const span = view.end - view.start;
  const step_s = Math.max(lanes.points.length ? lanes.point_s : 0, lanes.peaks[0].length ? lanes.peak_s : 0);
  if (isWhole(view, duration_s) || (step_s / span) * width < 2 || step_s <= FINEST_STEP_S + 1e-9) return null;
  return { start: Math.max(view.start - span, 0), end: Math.min(view.end + span, duration_s) };
}

// The labels with the highest scores at a time, best first, each with its score in per mille.
export function topThree(lanes, labels, time_s) {
  if (!lanes.points.length) return [];
  const { points, points_start_s: start_s, point_s } = lanes;
  const i = clamp(Math.floor((time_s - start_s) / point_s), 0, points[0].length - 1);
  const scored = labels.map((label, row) => ({ label, score: points[row][i] }));
  return scored.sort((a, b) => b.score - a.score).slice(0, 3);
}

// The lowest and highest sample of the column of pixels at x.
export function peakAt(lanes, view, width, x) {
  const { peaks: [low, high], peaks_start_s: start_s, peak_s } = lanes;
  const first = clamp(Math.floor((toTime(view, width, x) - start_s) / peak_s), 0, low.length - 1);
  const last = clamp(Math.ceil((toTime(view, width, x + 1) - start_s) / peak_s), first + 1, low.length);
  return [Math.min(...low.slice(first, last)), Math.max(...high.slice(first, last))];
}

// The points in view and one on either side, with the x of their middles; the first and last reach the clip's ends. Of
// more points than pixels every second or third does: the curve is smoothed, and zooming then keeps up with the wheel.
export function visiblePoints(lanes, view, width, duration_s) {
  const { points, points_start_s: start_s, point_s } = lanes;
  const count = points[0].length;
  const first = clamp(Math.floor((view.start - start_s) / point_s) - 1, 0, count - 1);
  const last = clamp(Math.ceil((view.end - start_s) / point_s) + 1, first, count - 1);
  const stride = Math.max(Math.floor((last - first) / width), 1);
  const places = [];
  for (let k = first; k < last + stride; k += stride) {
    const i = Math.min(k, last);
    const middle_s = start_s + (i + 0.5) * point_s;
    const edge_s = i === 0 ? start_s : i === count - 1 ? start_s + count * point_s : middle_s;
    places.push({ i, x: toX(view, width, Math.min(edge_s, duration_s)) });
  }
  return places;
}

// Seconds between two marks of the axis, which stand 90 pixels or more apart.
export function tickStep(view, width) {
  const wanted_s = (view.end - view.start) / Math.max(width / 90, 2);
  return TICKS_S.find((step_s) => step_s >= wanted_s) || TICKS_S.at(-1);
}
