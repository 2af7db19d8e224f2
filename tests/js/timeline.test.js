import assert from "node:assert/strict";
import { test } from "node:test";

import {
  detailStretch, fitView, isWhole, peakAt, tickStep, toTime, toX, topThree, unpackLanes, visiblePoints, zoomed,
} from "../../emotion/ui/assets/timeline_view.js";

const WIDTH = 1000;
const LABELS = ["angry", "happy", "neutral", "sad"].map((key) => ({ key }));

// Lanes as the server makes them of ten seconds: a peak each tenth, a point each half second.
function lanesOf({ points = 20, peaks = 100 } = {}) {
  const rising = Int16Array.from({ length: peaks }, (_, i) => i);
  return {
    peaks: [rising.map((peak) => -peak), rising], peaks_start_s: 0, peak_s: 10 / peaks,
    points: points ? LABELS.map((_, row) => Int16Array.from({ length: points }, (__, i) => row * 100 + i)) : [],
    points_start_s: 0, point_s: points ? 10 / points : 0,
  };
}

test("lanes come as base64 of little-endian numbers of 16 bits", () => {
  const text = Buffer.from([1, 0, 255, 255, 0, 128]).toString("base64");
  const lanes = unpackLanes({ peaks: [text, ""], points: [text], point_s: 0.5 });
  assert.deepEqual([...lanes.peaks[0]], [1, -1, -32768]);
  assert.equal(lanes.peaks[1].length, 0);
  assert.deepEqual([...lanes.points[0]], [1, -1, -32768]);
  assert.equal(lanes.point_s, 0.5);
});

test("a place on the canvas and its time are each other's inverse", () => {
  const view = { start: 2, end: 4 };
  assert.equal(toX(view, WIDTH, 3), 500);
  assert.equal(toTime(view, WIDTH, 500), 3);
  assert.equal(toTime(view, WIDTH, toX(view, WIDTH, 2.75)), 2.75);
});

test("a view keeps its length at either end of the recording", () => {
  assert.deepEqual(fitView(-1, 1, 10), { start: 0, end: 2 });
  assert.deepEqual(fitView(9, 11, 10), { start: 8, end: 10 });
  assert.deepEqual(fitView(-5, 20, 10), { start: 0, end: 10 });
});

test("a view is never shorter than a quarter of a second, nor than a recording that is", () => {
  assert.deepEqual(fitView(5, 5.01, 10), { start: 5, end: 5.25 });
  assert.deepEqual(fitView(0, 0.01, 0.1), { start: 0, end: 0.1 });
});

test("zooming leaves the time below the mouse where it is", () => {
  const view = zoomed({ start: 0, end: 10 }, 0.5, 2);
  assert.deepEqual(view, { start: 1, end: 6 });
  assert.equal(toX(view, WIDTH, 2), toX({ start: 0, end: 10 }, WIDTH, 2));
  assert.deepEqual(zoomed(view, 2, 2), { start: 0, end: 10 });
});

test("a view is whole when it shows the recording from end to end", () => {
  assert.equal(isWhole({ start: 0, end: 10 }, 10), true);
  assert.equal(isWhole({ start: 1, end: 10 }, 10), false);
});

test("finer lanes are wanted of the view and as much on either side", () => {
  assert.deepEqual(detailStretch({ start: 4, end: 5 }, WIDTH, 10, lanesOf()), { start: 3, end: 6 });
  assert.deepEqual(detailStretch({ start: 0.5, end: 1.5 }, WIDTH, 10, lanesOf()), { start: 0, end: 2.5 });
});

test("no finer lanes are wanted where everything is seen, or the steps are as fine as pixels or frames", () => {
  assert.equal(detailStretch({ start: 0, end: 10 }, WIDTH, 10, lanesOf()), null);
  assert.equal(detailStretch({ start: 0, end: 9.9 }, 10, 10, lanesOf()), null);
  assert.equal(detailStretch({ start: 4, end: 5 }, WIDTH, 10, lanesOf({ points: 500, peaks: 500 })), null);
});

test("the mouse is told the three highest scores, best first", () => {
  const named = (time_s) => topThree(lanesOf(), LABELS, time_s).map(({ label, score }) => [label.key, score]);
  assert.deepEqual(named(1), [["sad", 302], ["neutral", 202], ["happy", 102]]);
  assert.deepEqual(named(99)[0], ["sad", 319]);
  assert.deepEqual(topThree(lanesOf({ points: 0 }), [], 1), []);
});

test("a column of pixels shows the lowest and highest of its peaks", () => {
  assert.deepEqual(peakAt(lanesOf(), { start: 0, end: 10 }, 10, 2), [-29, 29]);
  assert.deepEqual(peakAt(lanesOf(), { start: 0, end: 10 }, WIDTH, 999), [-99, 99]);
});

test("the curve reaches both ends of the recording, and else the middle of each step", () => {
  const places = visiblePoints(lanesOf(), { start: 0, end: 10 }, WIDTH, 10);
  assert.equal(places.length, 20);
  assert.deepEqual([places[0].x, places[1].x, places.at(-1).x], [0, 75, 1000]);
});

test("of a view only its points and one on either side are drawn", () => {
  const places = visiblePoints(lanesOf(), { start: 4, end: 5 }, WIDTH, 10);
  assert.deepEqual(places.map(({ i }) => i), [7, 8, 9, 10, 11]);
});

test("of more points than pixels some are left out, and never the last", () => {
  const places = visiblePoints(lanesOf({ points: 2000 }), { start: 0, end: 10 }, 500, 10);
  assert.ok(places.length < 700);
  assert.equal(places.at(-1).i, 1999);
});

test("marks of the axis stand 90 pixels or more apart, in round steps", () => {
  assert.equal(tickStep({ start: 0, end: 10 }, 900), 1);
  assert.equal(tickStep({ start: 0, end: 10 }, 899), 2);
  assert.equal(tickStep({ start: 0, end: 100_000 }, WIDTH), 3600);
});
