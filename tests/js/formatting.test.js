import assert from "node:assert/strict";
import { test } from "node:test";

import { clamp, clock, filled, percent, size, wholeClock } from "../../emotion/ui/assets/formatting.js";

test("a time is minutes, seconds and tenths, from an hour on with hours", () => {
  const shown = [0, 12.84, 59.96, 60, 3599.94, 3599.95, 3725.5].map(clock);
  assert.deepEqual(shown, ["0:00.0", "0:12.8", "1:00.0", "1:00.0", "59:59.9", "1:00:00.0", "1:02:05.5"]);
});

test("a clock that runs shows a second when it is over", () => {
  assert.deepEqual([0, 0.99, 61.5, 3600].map(wholeClock), ["0:00", "0:00", "1:01", "1:00:00"]);
});

test("a size has the unit that fits, and is never nothing", () => {
  assert.deepEqual([0, 1_400_000, 999_000_000, 1_234_000_000].map(size), ["1 MB", "1 MB", "999 MB", "1.23 GB"]);
});

test("a share is a percentage with one decimal", () => {
  assert.equal(percent(0.8526), "85.3%");
});

test("every name in a text is replaced, whatever the value holds", () => {
  assert.equal(filled("{name} has {size}, {name}!", { name: "$&.wav", size: 2 }), "$&.wav has 2, $&.wav!");
});

test("a number is held between its bounds", () => {
  assert.deepEqual([-1, 3, 9].map((number) => clamp(number, 0, 5)), [0, 3, 5]);
});
