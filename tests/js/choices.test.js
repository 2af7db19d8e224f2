import assert from "node:assert/strict";
import { test } from "node:test";

import { isUntyped, typedAsSound } from "../../emotion/ui/assets/gradio_adapter.js";
import { between, Choice } from "../../emotion/ui/assets/history_choice.js";
import { nextMark } from "../../emotion/ui/assets/similar.js";

const RUNS = ["e", "d", "c", "b", "a"];

test("runs are chosen one by one", () => {
  const choice = new Choice();
  choice.click(RUNS, "d", true, false);
  choice.click(RUNS, "a", true, false);
  choice.click(RUNS, "d", false, false);
  assert.deepEqual(choice.of(RUNS), ["a"]);
});

test("with Shift all runs between two clicks become what the second one is", () => {
  const choice = new Choice();
  choice.click(RUNS, "d", true, false);
  choice.click(RUNS, "b", true, true);
  assert.deepEqual(choice.of(RUNS), ["d", "c", "b"]);
  choice.click(RUNS, "c", false, true);
  assert.deepEqual(choice.of(RUNS), ["d"]);
});

test("a range goes both ways, and begins nowhere where its beginning is no longer in the list", () => {
  assert.deepEqual(between(RUNS, "b", "d"), ["d", "c", "b"]);
  assert.deepEqual(between(RUNS, "gone", "d"), []);
  assert.deepEqual(between(RUNS, null, "d"), []);
});

test("only those count that are in the list, in its order; a search hides them and does not forget them", () => {
  const choice = new Choice();
  choice.set(["a", "e", "c"], true);
  assert.deepEqual(choice.of(["e", "d", "c"]), ["e", "c"]);
  assert.deepEqual(choice.of(RUNS), ["e", "c", "a"]);
});

test("an arrow key goes to the next mark in its direction; what lies aside counts as twice as far", () => {
  const places = [[0, 0], [10, 0], [4, 8], [-5, 1], [0, -9]];
  assert.equal(nextMark(places, 0, [1, 0]), 1);
  assert.equal(nextMark(places, 0, [-1, 0]), 3);
  assert.equal(nextMark(places, 0, [0, 1]), 3);
  assert.equal(nextMark(places, 0, [0, -1]), 4);
  assert.equal(nextMark(places, 1, [1, 0]), -1);
});

test("a file is sound by its name where the browser does not know it", () => {
  assert.equal(isUntyped({ name: "memo.AMR", type: "" }), true);
  assert.equal(isUntyped({ name: "call.wav", type: "audio/wav" }), false);
  assert.equal(isUntyped({ name: "notes.txt", type: "text/plain" }), false);
  assert.equal(isUntyped({ name: "clip.mp4", type: "video/mp4" }), true);
});

test("such a file is sent as sound, with its name and content", async () => {
  globalThis.File ??= (await import("node:buffer")).File; // Node 18 hides it there
  const file = typedAsSound(new File(["#!AMR"], "memo.AMR"));
  assert.deepEqual([file.name, file.type, await file.text()], ["memo.AMR", "audio/amr", "#!AMR"]);
});
