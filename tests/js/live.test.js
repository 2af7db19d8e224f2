import assert from "node:assert/strict";
import { test } from "node:test";

import { bestOf, levelShare } from "../../emotion/ui/assets/live.js";
import { secondsShown, stretchesOf, tickStep } from "../../emotion/ui/assets/live_curve.js";
import { Pieces, toInt16 } from "../../emotion/ui/assets/live_pieces.js";
import { LiveSession, socketAddress, troubleOf } from "../../emotion/ui/assets/live_session.js";

const RATE_HZ = 16_000;

function pieced(...blocks) {
  const sent = [];
  const pieces = new Pieces(RATE_HZ, (piece) => sent.push(piece));
  for (const block of blocks) pieces.add(block);
  return { pieces, sent, lengths: () => sent.map(({ sound }) => sound.byteLength / 2) };
}

const steady = (length, sample) => new Float32Array(length).fill(sample);

test("a sample becomes a number of 16 bits, and what is too loud the loudest", () => {
  assert.deepEqual([0, 0.5, -1, 1, -2, 2].map(toInt16), [0, 16384, -32768, 32767, -32768, 32767]);
});

test("blocks of any length become pieces of a tenth of a second", () => {
  const { pieces, lengths } = pieced(...Array.from({ length: 30 }, () => [steady(128, 0.1)]));
  assert.deepEqual(lengths(), [1600, 1600]);
  pieces.flush();
  assert.deepEqual(lengths(), [1600, 1600, 640]);
  pieces.flush();
  assert.equal(lengths().length, 3, "there is nothing left");
});

test("no sample is lost or doubled where pieces meet", () => {
  const ramp = Float32Array.from({ length: 4000 }, (_, i) => i / 32768);
  const { pieces, sent } = pieced([ramp.subarray(0, 1000)], [ramp.subarray(1000, 4000)]);
  pieces.flush();
  const heard = sent.flatMap(({ sound }) => [...new Int16Array(sound)]);
  assert.deepEqual(heard, Array.from({ length: 4000 }, (_, i) => i));
});

test("channels become one, their mean", () => {
  const { sent } = pieced([steady(1600, 0.5), steady(1600, -0.25)]);
  assert.equal(new Int16Array(sent[0].sound)[7], toInt16(0.125));
});

test("a piece tells its level, and silence is quiet without end", () => {
  const { sent } = pieced([steady(1600, 0.1)], [steady(1600, 0)]);
  assert.ok(Math.abs(sent[0].level_db + 20) < 1e-3);
  assert.ok(sent[1].level_db <= -119);
});

test("while no source is connected there are no channels, and no pieces", () => {
  assert.deepEqual(pieced([], []).sent, []);
});

test("the server listens beside the page, also behind a prefix, and as safely as the page came", () => {
  assert.equal(String(socketAddress("https://a.example/studio/?x=1#y")), "wss://a.example/studio/live");
  assert.equal(String(socketAddress("http://127.0.0.1:7860/")), "ws://127.0.0.1:7860/live");
});

test("a microphone that cannot be opened is denied, missing, or used by somebody else", () => {
  const names = ["NotAllowedError", "SecurityError", "NotFoundError", "NotReadableError"];
  assert.deepEqual(names.map((name) => troubleOf({ name })), ["denied", "denied", "missing", "occupied"]);
});

test("three seconds of zeros are a microphone that is switched off, and a sound ends that", () => {
  globalThis.WebSocket = { OPEN: 1 };
  const session = new LiveSession({ piece: () => {} });
  session.socket = { readyState: 1, send: () => {} };
  session.microphone.context = { sampleRate: RATE_HZ };
  const send = (level_db) => session.send({ sound: new ArrayBuffer(3200), level_db });
  for (let i = 0; i < 29; i += 1) send(-120);
  assert.equal(session.isMuted, false);
  send(-120);
  send(-120);
  assert.equal(session.isMuted, true);
  assert.ok(Math.abs(session.heard_s - 3.1) < 1e-9);
  send(-40);
  assert.equal(session.isMuted, false);
});

test("neighbouring moments of one kind are drawn as one, each from the moment before", () => {
  const scores = { angry: 1 };
  const moments = [
    { time_s: 1, scores }, { time_s: 2, scores }, { time_s: 3, is_silent: true }, { time_s: 4 }, { time_s: 5, scores },
  ];
  const drawn = stretchesOf(moments, 0.5).map(({ kind, points }) => [kind, points.map(({ time_s }) => time_s)]);
  assert.deepEqual(drawn, [["scores", [0.5, 1, 2]], ["silence", [2, 3]], ["none", [3, 4]], ["scores", [4, 5]]]);
});

test("the curve is as long as what was heard, from twenty seconds to a minute", () => {
  assert.deepEqual([0, 34, 600].map(secondsShown), [20, 34, 60]);
});

test("marks of the curve have room for their words", () => {
  assert.deepEqual([tickStep(20, 800), tickStep(60, 800), tickStep(60, 100)], [5, 10, 30]);
});

test("the bar of the level is empty at -60 decibels and full at none", () => {
  assert.deepEqual([-90, -60, -30, 0, 3].map(levelShare), [0, 0, 0.5, 1, 1]);
});

test("the best label is the one with the highest score", () => {
  assert.equal(bestOf({ angry: 0.2, sad: 0.5, happy: 0.3 }), "sad");
});
