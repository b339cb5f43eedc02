import assert from "node:assert/strict";
import { test } from "node:test";

import { complete, proposals, queryAt } from "../../../trio_chat/web/static/core/complete.js";
import { EMOJI } from "../../../trio_chat/web/static/core/emoji.js";
import { Heights } from "../../../trio_chat/web/static/core/heights.js";
import { listRooms, neighbour } from "../../../trio_chat/web/static/core/roomlist.js";
import { SHORTCUTS, keyOf, shortcut } from "../../../trio_chat/web/static/core/shortcuts.js";
import { Standing } from "../../../trio_chat/web/static/core/standing.js";
import { LANGUAGES } from "../../../trio_chat/web/static/i18n.js";

// --- where rows lie ---

const rows = (from, to) => Array.from({ length: to - from }, (_, index) => ({ key: `r${from + index}` }));

test("rows that were not measured have the mean of those that were, once the list is another", () => {
  const heights = new Heights();
  heights.setRows(rows(0, 10));
  const guess = heights.estimate;
  assert.equal(heights.total, 10 * guess);
  assert.equal(heights.measure([["r0", 20], ["r1", 40]]), true);
  assert.equal(heights.total, 60 + 8 * guess);
  heights.setRows(rows(0, 10));
  assert.equal(heights.estimate, 30);
  assert.equal(heights.total, 300);
  assert.equal(heights.offsetOf("r2"), 60);
  assert.equal(heights.offsetOf("nobody"), null);
  assert.equal(heights.measure([["r0", 20.1]]), false);
});

test("a stretch is covered by the rows that touch it", () => {
  const heights = new Heights();
  assert.deepEqual(heights.range(0, 100), [0, 0]);
  heights.setRows(rows(0, 100));
  heights.measure(rows(0, 100).map(({ key }) => [key, 10]));
  assert.deepEqual(heights.range(0, 0), [0, 1]);
  assert.deepEqual(heights.range(95, 205), [9, 21]);
  assert.deepEqual(heights.range(-50, 5), [0, 1]);
  assert.deepEqual(heights.range(990, 9_999), [99, 100]);
});

test("heights stay with their rows when others come before them, and are forgotten with rows that are gone", () => {
  const heights = new Heights();
  heights.setRows(rows(50, 60));
  heights.measure(rows(50, 60).map(({ key }) => [key, 10]));
  heights.setRows(rows(40, 60));
  assert.equal(heights.offsetOf("r50"), 100);
  heights.measure([["r40", 110]]);
  assert.equal(heights.offsetOf("r51") - heights.offsetOf("r50"), 10);
  for (let start = 0; start < 1_000; start += 10) {
    heights.setRows(rows(start, start + 10));
    heights.measure(rows(start, start + 10).map(({ key }) => [key, 10]));
  }
  assert.ok(heights.measured.size < 200);
  assert.equal(heights.total, 100);
  heights.forget();
  assert.equal(heights.measured.size, 0);
});

// --- rooms ---

const ANN = { id: "ann", name: "ann" };
const BOB = { id: "bob", name: "Bob" };
const CY = { id: "cy", name: "cy" };
const isMine = (user) => user.id === "ann";
const compare = (one, other) => one.localeCompare(other, "en");
const openRoom = (more = {}) => ({
  isJoined: true, unread: 0, mentions: 0, topic: "", error: null, standing: { kind: "public", archived: false },
  people: { count: 2, members: new Map([["ann", ANN], ["bob", BOB]]) }, ...more,
});

test("rooms are mine, direct, or others, and an open one counts for itself", () => {
  const rooms = new Map([["tea", openRoom({ unread: 2, mentions: 1 })], ["dm-x", openRoom({ standing: { kind: "direct" } })]]);
  const list = [
    { room: "tea", count: 9, unread: 7 }, { room: "quiet", count: 0 }, { room: "busy", count: 5 },
    { room: "secret", count: 1, kind: "private", unread: 3 }, { room: "old", count: 0, read: 4, unread: 1 },
    { room: "dm-y", kind: "direct", with: CY, unread: 1, count: 0 }, { room: "gone", archived: true, count: 0 },
  ];
  const { mine, direct, others } = listRooms({ rooms, list, isMine, compare });
  assert.deepEqual(mine.map(({ name, unread, isOpen }) => [name, unread, isOpen]), [["old", 1, false], ["secret", 3, false], ["tea", 2, true]]);
  assert.deepEqual(direct.map(({ title, name }) => [title, name]), [["Bob", "dm-x"], ["cy", "dm-y"]]);
  assert.deepEqual(others.map(({ name }) => name), ["busy", "quiet"]);
});

test("the next room, and the next one with something unread, around the end", () => {
  const list = { mine: [{ name: "a", unread: 0 }, { name: "b", unread: 0 }, { name: "c", unread: 4 }], direct: [{ name: "d", unread: 1 }] };
  assert.deepEqual(["a", "b", "d"].map((name) => neighbour(list, name, 1)), ["b", "c", "a"]);
  assert.deepEqual(["a", "b"].map((name) => neighbour(list, name, -1)), ["d", "a"]);
  assert.deepEqual(["a", "c", "d"].map((name) => neighbour(list, name, 1, { unread: true })), ["c", "d", "c"]);
  assert.equal(neighbour({ mine: [{ name: "a", unread: 1 }], direct: [] }, "a", 1), null);
});

// --- what I may ---

test("what the page offers follows the roles as the events change them", () => {
  const standing = new Standing({ isMine });
  const may = (...what) => what.map((one) => standing.may(one));
  assert.deepEqual(may("write", "topic", "invite", "moderate", "roles"), [true, true, true, false, false]);
  standing.event({ op: "created", kind: "private", user: BOB });
  assert.deepEqual(may("write", "topic", "invite"), [true, false, false]);
  standing.event({ op: "member", user: BOB, target: ANN, role: "moderator" });
  standing.event({ op: "member", user: BOB, target: CY, role: "moderator" });
  assert.deepEqual(may("topic", "invite", "moderate", "slow", "settings"), [true, true, true, true, false]);
  assert.equal(standing.may("moderate", CY), false);
  standing.event({ op: "member", user: BOB, target: CY, role: "member" });
  assert.equal(standing.may("moderate", CY), true);
  assert.deepEqual([standing.may("moderate", BOB), standing.may("moderate", ANN)], [false, false]);
  standing.event({ op: "muted", user: BOB, target: ANN, until: 50 });
  assert.deepEqual([standing.isMuted(49), standing.isMuted(50)], [true, false]);
  standing.event({ op: "settings", user: BOB, archived: true, slow_seconds: 5, private: false });
  assert.deepEqual([standing.kind, standing.slow, ...may("write")], ["public", 5, false]);
  standing.event({ op: "member", user: BOB, target: ANN, role: "banned" });
  assert.equal(standing.role, "none");
  assert.throws(() => standing.may("fly"), /fly/);
});

// --- completion ---

test("a name or an emoji is completed where it begins a word", () => {
  assert.deepEqual(queryAt("hi @bo", 6), { sign: "@", query: "bo", start: 3 });
  assert.deepEqual(queryAt("@", 1), { sign: "@", query: "", start: 0 });
  assert.deepEqual(queryAt("nice :ro", 8), { sign: ":", query: "ro", start: 5 });
  for (const [text, caret] of [["a@bo", 4], ["12:30", 5], [":r", 2], ["@bo x", 5], ["", 0]]) assert.equal(queryAt(text, caret), null, text);
  const users = [{ id: "1", name: "Zoë" }, { id: "2", name: "Bob" }, { id: "3", name: "Abo" }];
  assert.deepEqual(proposals({ sign: "@", query: "bo" }, users).map(({ label }) => label), ["Bob", "Abo"]);
  assert.deepEqual(proposals({ sign: "@", query: "zoe" }, users)[0].insert, "@Zoë ");
  assert.deepEqual(proposals({ sign: "@", query: "al" }, users, "all").at(-1).label, "all");
  assert.equal(proposals({ sign: ":", query: "rocket" }, users)[0].emoji, "🚀");
  const query = queryAt("hi @bo there", 6);
  assert.deepEqual(complete("hi @bo there", 6, query, { insert: "@Bob " }), { text: "hi @Bob there", caret: 8 });
});

test("every emoji is there once", () => {
  assert.equal(new Set(EMOJI.map(([emoji]) => emoji)).size, EMOJI.length);
});

// --- keys ---

test("keys do what the sheet says, and letters do nothing where one writes", () => {
  const key = (name, more = {}) => ({ key: name, ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, ...more });
  assert.equal(keyOf(key("K", { metaKey: true })), "Mod+k");
  assert.equal(keyOf(key("ArrowDown", { altKey: true, shiftKey: true })), "Alt+Shift+ArrowDown");
  assert.equal(shortcut(key("?", { shiftKey: true }), ["anywhere", "outside"]), "help");
  assert.equal(shortcut(key("?", { shiftKey: true }), ["anywhere"]), null);
  assert.equal(shortcut(key("k", { ctrlKey: true }), ["anywhere"]), "findRoom");
  assert.equal(shortcut(key("k"), ["message"]), "messageUp");
  for (const { name } of SHORTCUTS) assert.ok(name === "helpToo" || LANGUAGES.en.keys[name], name);
});
