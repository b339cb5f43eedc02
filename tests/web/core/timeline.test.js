import assert from "node:assert/strict";
import { test } from "node:test";

import { CEILING, KEPT, KEPT_CHARS, SLACK, Timeline, WINDOW } from "../../../trio_chat/web/static/core/timeline.js";

const message = (seq, text = `text ${seq}`) => ({ op: "message", seq, at: seq, user: { id: "u", name: "U" }, text });
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => message(from + index));
const seqs = (timeline) => timeline.entries.map((entry) => entry.seq);

function filled(count, following = true) {
  const timeline = new Timeline().reset("e", 0);
  for (const event of range(1, count)) timeline.take(event, following);
  return timeline;
}

test("events are taken once and in order", () => {
  const timeline = filled(3);
  assert.equal(timeline.take(message(3), true), "known");
  assert.equal(timeline.take(message(1), true), "known");
  assert.equal(timeline.take(message(4), true), "taken");
  assert.deepEqual(seqs(timeline), [1, 2, 3, 4]);
});

test("a hole is noticed and nothing is taken across it", () => {
  const timeline = filled(3);
  assert.equal(timeline.take(message(5), true), "hole");
  assert.equal(timeline.seq, 3);
});

test("the first event of a fresh join says the position, and whether there is more before it", () => {
  for (const [first, older] of [[1, false], [7, true]]) {
    const timeline = new Timeline().reset("e", null);
    assert.equal(timeline.take(message(first), true), "taken");
    assert.deepEqual([timeline.seq, timeline.older], [first, older]);
  }
});

test("events that are not messages move the position; those that people should hear of are entries of their own", () => {
  const timeline = filled(2);
  timeline.take({ op: "unknown", seq: 3, at: 3 }, true);
  timeline.take({ op: "topic", seq: 4, at: 4, text: "t" }, true);
  assert.equal(timeline.seq, 4);
  assert.equal(timeline.newest, 2);
  assert.deepEqual(timeline.entries.map((entry) => entry.kind ?? entry.op), ["message", "message", "event"]);
  assert.equal(timeline.attached, true);
});

test("while the end is followed the window stays bounded, and older says that there is more", () => {
  const timeline = filled(WINDOW + SLACK + 1);
  assert.equal(timeline.entries.length, WINDOW);
  assert.equal(timeline.older, true);
  assert.equal(timeline.last, WINDOW + SLACK + 1);
});

test("reading far back the window detaches instead of growing without end, and finds back without a loss", () => {
  const timeline = filled(CEILING + 120, false);
  assert.equal(timeline.entries.length, CEILING);
  assert.equal(timeline.attached, false);
  assert.equal(timeline.seq, CEILING + 120);
  while (!timeline.attached) timeline.append(range(timeline.last + 1, Math.min(timeline.last + 50, timeline.seq)));
  assert.equal(timeline.last, CEILING + 120);
  const [first] = seqs(timeline);
  assert.deepEqual(seqs(timeline), range(first, CEILING + 120).map(({ seq }) => seq));
});

test("history goes before what is there, without what is there already", () => {
  const timeline = new Timeline().reset("e", null);
  for (const event of range(60, 70)) timeline.take(event, true);
  timeline.prepend(range(40, 62), true, false);
  assert.deepEqual(seqs(timeline), range(40, 70).map(({ seq }) => seq));
  assert.equal(timeline.older, true);
  timeline.prepend([], false, false);
  assert.equal(timeline.older, false);
});

test("a page that runs ahead of live delivery leaves the rest to it", () => {
  const timeline = new Timeline().reset("e", 5);
  timeline.prepend(range(1, 7), false, true);
  assert.deepEqual(seqs(timeline), [1, 2, 3, 4, 5]);
  timeline.take(message(6), true);
  assert.deepEqual(seqs(timeline), [1, 2, 3, 4, 5, 6]);
});

test("so much history that the end has to go detaches the window", () => {
  const timeline = new Timeline().reset("e", null);
  for (const event of range(2001, 2100)) timeline.take(event, true);
  for (let first = 1951; timeline.attached; first -= 50) timeline.prepend(range(first, first + 49), true, false);
  assert.equal(timeline.entries.length, CEILING);
  timeline.take(message(2101), false);
  assert.notEqual(timeline.last, 2101);
  timeline.replace(range(2052, 2101), true);
  assert.equal(timeline.attached, true);
  assert.equal(timeline.last, 2101);
});

test("the newest page is not yet the end if something arrived meanwhile", () => {
  const timeline = filled(CEILING + 10, false);
  timeline.replace(range(CEILING - 40, CEILING + 9), true);
  assert.equal(timeline.attached, false);
  timeline.append(range(CEILING + 10, CEILING + 10));
  assert.equal(timeline.attached, true);
});

test("a gap moves the position and is an entry of its own", () => {
  const timeline = filled(2);
  timeline.gap(3, 9);
  assert.equal(timeline.take(message(10), true), "taken");
  assert.deepEqual(timeline.entries.map((entry) => entry.kind ?? entry.seq), [1, 2, "gap", 10]);
  timeline.gap(3, 9);
  assert.equal(timeline.entries.length, 4);
});

test("a snapshot brings back position and messages, bounded in number and size", () => {
  const timeline = filled(WINDOW);
  const saved = JSON.parse(JSON.stringify(timeline.snapshot()));
  assert.equal(saved.entries.length, KEPT);
  const next = new Timeline();
  assert.equal(next.restore(saved), true);
  assert.deepEqual([next.epoch, next.seq, next.last, next.older, next.attached], ["e", WINDOW, WINDOW, true, true]);
  const large = new Timeline().reset("e", 0);
  for (let seq = 1; seq <= 100; seq += 1) large.take(message(seq, "x".repeat(10_000)), true);
  assert.equal(large.snapshot().entries.length, KEPT_CHARS / 10_000);
});

test("there is no snapshot without a position, or of the middle", () => {
  assert.equal(new Timeline().snapshot(), null);
  assert.equal(filled(CEILING + 10, false).snapshot(), null);
});

test("nonsense is no snapshot", () => {
  const nonsense = [null, 3, {}, { epoch: "e" }, { epoch: "e", seq: "1", entries: [] }, { epoch: "e", seq: 1, entries: [null] }];
  for (const saved of nonsense) assert.equal(new Timeline().restore(saved), false);
});

const ANN = { id: "ann", name: "ann" };
const CY = { id: "cy", name: "cy" };
const mine = (user) => user.id === "ann";

test("a message is shown as later events have left it", () => {
  const timeline = new Timeline(mine);
  timeline.reset("e", 0);
  timeline.take({ op: "message", seq: 1, at: 1, user: CY, text: "helo" }, true);
  timeline.take({ op: "edited", seq: 2, at: 2, user: CY, target: 1, text: "hello" }, true);
  timeline.take({ op: "reacted", seq: 3, at: 3, user: ANN, target: 1, emoji: "x" }, true);
  timeline.take({ op: "reacted", seq: 4, at: 4, user: CY, target: 1, emoji: "x" }, true);
  assert.deepEqual(timeline.find(1).reactions, [{ emoji: "x", count: 2, users: ["ann", "cy"], me: true }]);
  assert.deepEqual([timeline.find(1).text, timeline.find(1).edited_at], ["hello", 2]);
  timeline.take({ op: "unreacted", seq: 5, at: 5, user: ANN, target: 1, emoji: "x" }, true);
  assert.deepEqual(timeline.find(1).reactions, [{ emoji: "x", count: 1, users: ["cy"], me: false }]);
  timeline.take({ op: "unreacted", seq: 6, at: 6, user: CY, target: 1, emoji: "x" }, true);
  assert.deepEqual(timeline.find(1).reactions, []);
  timeline.take({ op: "deleted", seq: 7, at: 7, user: CY, target: 1 }, true);
  timeline.take({ op: "edited", seq: 8, at: 8, user: CY, target: 1, text: "back" }, true);
  assert.deepEqual([timeline.find(1).deleted, timeline.find(1).text], [true, ""]);
});

test("a page of history counts what it counts, and what came after it is put on top, each once", () => {
  const timeline = new Timeline(mine);
  timeline.reset("e", 9);
  timeline.take({ op: "reacted", seq: 10, at: 10, user: CY, target: 2, emoji: "x" }, true);
  timeline.take({ op: "reacted", seq: 11, at: 11, user: ANN, target: 2, emoji: "x" }, true);
  const reactions = [{ emoji: "x", count: 1, users: ["cy"] }];
  timeline.prepend([{ op: "message", seq: 2, at: 2, user: CY, text: "t", reactions }], false, true, 10);
  assert.equal(timeline.find(2).reactions[0].count, 2);
  timeline.take({ op: "edited", seq: 12, at: 12, user: CY, target: 99, text: "of one that is not at hand" }, true);
  assert.equal(timeline.find(99), null);
});
