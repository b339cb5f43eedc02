import assert from "node:assert/strict";
import { test } from "node:test";

import { Chat, isGuest } from "../../../trio_chat/web/static/core/chat.js";
import { PAGE } from "../../../trio_chat/web/static/core/room.js";
import { FakeClock, FakeServer, counter } from "./fakes.js";

const ANN = { id: "u-ann", name: "ann" };
const BOB = { id: "u-bob", name: "bob" };
const LIMITS = { max_message_bytes: 65_536, max_text_chars: 10_000, max_rooms: 8, rate: 10, burst: 20 };

const message = (seq, user = BOB, more = {}) => ({ op: "message", room: "lobby", seq, at: seq, user, text: `m${seq}`, ...more });

function setUp({ saved = {}, newId = counter() } = {}) {
  const clock = new FakeClock();
  const server = new FakeServer();
  const seen = { notices: [], refused: [], welcome: [], stored: [], left: [], invited: [] };
  const chat = new Chat({
    name: "ann",
    open: server.open,
    clock,
    random: () => 0.5,
    newId,
    saved: saved.session,
    on: {
      changed: () => {},
      outgoing: (room, items) => (seen.stored = items),
      notice: (notice) => seen.notices.push(notice),
      refused: (error) => seen.refused.push(error),
      welcome: (user) => seen.welcome.push(user),
      left: (room, error) => seen.left.push([room.name, error]),
      invited: (frame) => seen.invited.push(frame.room),
    },
  });
  const room = chat.open("lobby", { saved: { room: saved.room, outgoing: saved.outgoing } });
  return { clock, server, seen, chat, room };
}

function welcome(socket, user = ANN) {
  socket.accept();
  const [hello] = socket.take("hello");
  socket.tell({ op: "welcome", re: hello.id, session: `s-${user.id}`, user, limits: LIMITS, heartbeat: 20 });
  return hello;
}

function joined(socket, { head = 0, epoch = "e1", recovered = true, user = ANN, members = [ANN], count = members.length } = {}) {
  const [join] = socket.take("join");
  socket.tell({ op: "joined", re: join.id, room: "lobby", epoch, head, recovered, topic: "", members, count, user });
  return join;
}

function online(world, options) {
  world.chat.start();
  welcome(world.server.last, options?.user);
  return joined(world.server.last, options);
}

/** Lose the connection and come back. */
function again(world, options) {
  world.server.last.end(1006);
  world.chat.connection.retryNow();
  const hello = welcome(world.server.last, options?.user);
  return { hello, join: joined(world.server.last, options) };
}

const seqs = (room) => room.timeline.entries.map((entry) => entry.seq);
const page = (socket, messages, more) => {
  const [history] = socket.take("history");
  socket.tell({ op: "history", re: history.id, room: "lobby", messages, more });
  return history;
};

test("a guest is known by the id", () => {
  assert.equal(isGuest({ id: "guest-0123456789abcdef", name: "ann" }), true);
  assert.equal(isGuest({ id: "u1", name: "guest-ann" }), false);
});

test("the first visit asks for the latest messages and shows them", () => {
  const world = setUp();
  const join = online(world, { head: 100, recovered: false });
  assert.equal(join.last, PAGE);
  assert.equal("since" in join, false);
  for (let seq = 51; seq <= 100; seq += 1) world.server.last.tell(message(seq));
  assert.equal(world.room.timeline.older, true);
  assert.equal(seqs(world.room).length, 50);
  assert.equal(world.chat.connection.status.state, "online");
});

test("coming back says who it was and where it was, and takes only what is new", () => {
  const world = setUp();
  online(world, { head: 2 });
  for (const seq of [1, 2]) world.server.last.tell(message(seq));
  const { hello, join } = again(world, { head: 4 });
  assert.equal(hello.resume, "s-u-ann");
  assert.deepEqual([join.since, join.epoch, join.last], [2, "e1", undefined]);
  for (const seq of [2, 3, 4]) world.server.last.tell(message(seq));
  assert.deepEqual(seqs(world.room), [1, 2, 3, 4]);
});

test("a reload goes on from what was kept", () => {
  const world = setUp();
  online(world, { head: 2 });
  for (const seq of [1, 2]) world.server.last.tell(message(seq));
  const saved = JSON.parse(JSON.stringify({ session: world.chat.snapshot(), room: world.room.snapshot(), outgoing: world.seen.stored }));
  const next = setUp({ saved });
  assert.deepEqual(seqs(next.room), [1, 2]);
  next.chat.start();
  assert.equal(welcome(next.server.last).resume, "s-u-ann");
  assert.equal(joined(next.server.last, { head: 2 }).since, 2);
});

test("an unsent message goes when the room has been caught up with, and appears once", () => {
  const world = setUp();
  world.room.say("hi");
  online(world, { head: 1 });
  assert.deepEqual(world.server.last.take("say"), []);
  world.server.last.tell(message(1));
  const [say] = world.server.last.take("say");
  assert.equal(say.text, "hi");
  world.server.last.tell({ op: "ack", re: say.id, room: "lobby", seq: 2, at: 2 });
  assert.equal(world.room.outgoing.items[0].state, "stored");
  world.server.last.tell(message(2, ANN, { id: say.id, text: "hi" }));
  assert.deepEqual([world.room.outgoing.items.length, seqs(world.room)], [0, [1, 2]]);
});

test("the event may come before the acknowledgement", () => {
  const world = setUp();
  online(world);
  world.room.say("hi");
  const [say] = world.server.last.take("say");
  world.server.last.tell(message(1, ANN, { id: say.id }));
  world.server.last.tell({ op: "ack", re: say.id, room: "lobby", seq: 1, at: 1 });
  assert.deepEqual([world.room.outgoing.items, seqs(world.room)], [[], [1]]);
});

test("a message that was stored before the connection broke is recognised and not sent again", () => {
  const world = setUp();
  online(world);
  world.room.say("hi");
  const [say] = world.server.last.take("say");
  again(world, { head: 1 });
  world.server.last.tell(message(1, ANN, { id: say.id }));
  assert.deepEqual(world.server.last.take("say"), []);
  assert.deepEqual(world.room.outgoing.items, []);
});

test("it is recognised even if the server made somebody new of me", () => {
  const world = setUp();
  online(world);
  world.room.say("hi");
  const [say] = world.server.last.take("say");
  again(world, { head: 1, user: { id: "u-ann-2", name: "ann-2" } });
  world.server.last.tell(message(1, ANN, { id: say.id }));
  assert.deepEqual(world.server.last.take("say"), []);
  assert.equal(world.chat.isMine(ANN), true);
});

test("one that was not stored is sent again with the same id", () => {
  const world = setUp();
  online(world);
  world.room.say("hi");
  const [first] = world.server.last.take("say");
  again(world);
  const [second] = world.server.last.take("say");
  assert.equal(second.id, first.id);
});

test("another's id is not mine", () => {
  const world = setUp();
  online(world);
  world.room.say("hi");
  const [say] = world.server.last.take("say");
  world.server.last.tell(message(1, BOB, { id: say.id }));
  assert.equal(world.room.outgoing.items.length, 1);
});

test("an acknowledgement of a first attempt that is long history ends the waiting", () => {
  const world = setUp();
  online(world, { head: 0 });
  world.room.say("hi");
  const [say] = world.server.last.take("say");
  for (const seq of [1, 2, 3]) world.server.last.tell(message(seq));
  world.server.last.tell({ op: "ack", re: say.id, room: "lobby", seq: 2, at: 2 });
  assert.deepEqual(world.room.outgoing.items, []);
});

test("where the server cannot go on, the history is loaded again and that is said", () => {
  const world = setUp();
  online(world, { head: 2 });
  for (const seq of [1, 2]) world.server.last.tell(message(seq));
  world.room.say("still here");
  world.server.last.take("say");
  again(world, { head: 1, epoch: "e2", recovered: false });
  world.server.last.tell(message(2));
  assert.deepEqual(world.server.last.take("say"), []);
  const history = page(world.server.last, [message(1)], false);
  assert.equal("before" in history, false);
  assert.deepEqual(seqs(world.room), [1, 2, 2]);
  assert.equal(world.room.timeline.entries.at(-1).kind, "reloaded");
  assert.equal(world.server.last.take("say").length, 1);
  assert.equal(again(world, { head: 2, epoch: "e2" }).join.epoch, "e2");
});

test("very far behind, the newest page is taken instead of everything, and the rest stays in history", () => {
  const world = setUp();
  online(world, { head: 1 });
  world.server.last.tell(message(1));
  again(world, { head: 90_000 });
  world.server.last.tell(message(2));
  page(world.server.last, [message(89_999), message(90_000)], true);
  assert.deepEqual(seqs(world.room), [89_999, 90_000]);
  assert.equal(world.room.timeline.older, true);
  world.server.last.tell(message(90_001));
  assert.equal(world.room.timeline.last, 90_001);
});

test("a hole ends the connection and the next one asks for what is missing", () => {
  const world = setUp();
  online(world, { head: 1 });
  world.server.last.tell(message(1));
  world.server.last.tell(message(3));
  assert.equal(world.chat.connection.status.state, "waiting");
  world.chat.connection.retryNow();
  welcome(world.server.last);
  assert.equal(joined(world.server.last, { head: 3 }).since, 1);
  for (const seq of [2, 3]) world.server.last.tell(message(seq));
  assert.deepEqual(seqs(world.room), [1, 2, 3]);
});

test("a hole that stays is shown as a gap instead of trying for ever", () => {
  const world = setUp();
  online(world, { head: 1 });
  world.server.last.tell(message(1));
  world.server.last.tell(message(3));
  world.chat.connection.retryNow();
  welcome(world.server.last);
  joined(world.server.last, { head: 3 });
  world.server.last.tell(message(3));
  assert.deepEqual(world.room.timeline.entries.map((entry) => entry.kind ?? entry.seq), [1, "gap", 3]);
});

test("a gap counts as caught up", () => {
  const world = setUp();
  world.room.say("hi");
  online(world, { head: 5 });
  world.server.last.tell({ op: "gap", room: "lobby", from: 1, to: 5 });
  assert.equal(world.server.last.take("say").length, 1);
});

test("signals with a seq are no events", () => {
  const world = setUp();
  online(world, { head: 1 });
  world.server.last.tell(message(1));
  world.server.last.tell({ op: "read", room: "lobby", user: BOB, seq: 1 });
  world.server.last.tell({ op: "read", room: "lobby", user: BOB, seq: 9 });
  world.server.last.tell({ op: "lagging", room: "lobby", seq: 1 });
  assert.equal(world.chat.connection.status.state, "online");
  assert.equal(world.room.isLagging, true);
  world.server.last.tell(message(2));
  assert.equal(world.room.isLagging, false);
});

test("events of kinds that are not known move the position", () => {
  const world = setUp();
  online(world);
  world.server.last.tell({ op: "reacted", room: "lobby", seq: 1, at: 1, user: BOB });
  world.server.last.tell({ op: "topic", room: "lobby", seq: 2, at: 2, user: BOB, text: "news" });
  world.server.last.tell(message(3));
  assert.deepEqual(world.room.timeline.entries.map((entry) => entry.kind ?? entry.op), ["event", "message"]);
  assert.equal(world.room.topic, "news");
  assert.equal(world.room.timeline.seq, 3);
});

test("history is asked for once at a time, before what is there", () => {
  const world = setUp();
  online(world, { head: 100 });
  for (let seq = 51; seq <= 100; seq += 1) world.server.last.tell(message(seq));
  world.room.loadOlder();
  world.room.loadOlder();
  const messages = Array.from({ length: 50 }, (_, index) => message(index + 1));
  assert.equal(page(world.server.last, messages, false).before, 51);
  assert.equal(seqs(world.room).length, 100);
  world.room.loadOlder();
  assert.deepEqual(world.server.last.take("history"), []);
});

test("a page of an earlier life of the room is not mixed into the next", () => {
  const world = setUp();
  online(world, { head: 100 });
  for (let seq = 51; seq <= 100; seq += 1) world.server.last.tell(message(seq));
  world.room.loadOlder();
  const [history] = world.server.last.take("history");
  world.room.timeline.reset("e2", 0);
  world.server.last.tell({ op: "history", re: history.id, room: "lobby", messages: [message(1)], more: false });
  assert.deepEqual(seqs(world.room), []);
});

test("a refused page can be asked for again", () => {
  const world = setUp();
  online(world, { head: 100 });
  world.server.last.tell(message(100));
  world.room.loadOlder();
  const [history] = world.server.last.take("history");
  world.server.last.tell({ op: "error", re: history.id, code: "unavailable", message: "no", retry_after: 2 });
  assert.equal(world.room.paging, null);
  world.room.loadOlder();
  assert.equal(world.server.last.take("history").length, 1);
});

test("temporary refusals are tried again with the same id, others are shown", () => {
  for (const error of [{ code: "rate_limited" }, { code: "unavailable", retry_after: 3 }, { code: "odd", retry_after: 1 }]) {
    const world = setUp();
    online(world);
    world.room.say("hi");
    const [say] = world.server.last.take("say");
    world.server.last.tell({ op: "error", re: say.id, message: "later", ...error });
    world.clock.advance(3);
    assert.equal(world.server.last.take("say")[0].id, say.id);
  }
  const world = setUp();
  online(world);
  world.room.say("hi");
  const [say] = world.server.last.take("say");
  world.server.last.tell({ op: "error", re: say.id, code: "bad_request", message: "text: too long" });
  assert.deepEqual(world.room.outgoing.items[0].error, { code: "bad_request", message: "text: too long" });
  assert.deepEqual(world.seen.notices, []);
});

test("an error that answers nothing of ours is a notice", () => {
  const world = setUp();
  online(world);
  world.server.last.tell({ op: "error", code: "odd", message: "something" });
  assert.deepEqual(world.seen.notices, [{ code: "odd", message: "something" }]);
});

test("a session that the server does not want is left and a new one begun", () => {
  const world = setUp({ saved: { session: { session: "old", selves: ["u-ann"] } } });
  world.chat.start();
  const socket = world.server.last;
  socket.accept();
  const [first] = socket.take("hello");
  assert.equal(first.resume, "old");
  socket.tell({ op: "error", re: first.id, code: "bad_request", message: "resume: unknown" });
  const [second] = socket.take("hello");
  assert.equal("resume" in second, false);
});

test("a name or room that the server refuses is the person's to change", () => {
  const world = setUp();
  world.chat.start();
  world.server.last.accept();
  const [hello] = world.server.last.take("hello");
  world.server.last.tell({ op: "error", re: hello.id, code: "bad_request", message: "name: no" });
  assert.equal(world.seen.refused[0].message, "name: no");
  assert.equal(world.chat.connection.status.state, "stopped");
  world.clock.advance(1000);
  assert.equal(world.server.sockets.length, 1);
});

test("a server that is not ready for a hello or a join is asked again after its time", () => {
  const world = setUp();
  world.chat.start();
  world.server.last.accept();
  const [hello] = world.server.last.take("hello");
  world.server.last.tell({ op: "error", re: hello.id, code: "unavailable", message: "disk", retry_after: 5 });
  world.clock.advance(4.9);
  assert.equal(world.server.sockets.length, 1);
  world.clock.advance(0.1);
  assert.equal(world.server.sockets.length, 2);
  welcome(world.server.last);
  const [join] = world.server.last.take("join");
  world.server.last.tell({ op: "error", re: join.id, code: "unavailable", message: "disk", retry_after: 5 });
  world.clock.advance(4.9);
  assert.deepEqual(world.server.last.take("join"), []);
  world.clock.advance(0.1);
  assert.equal(world.server.last.take("join").length, 1);
});

test("a message that is too big for the server fails instead of breaking every connection", () => {
  const world = setUp();
  online(world);
  world.room.say("big");
  world.server.last.end(1009);
  assert.equal(world.room.outgoing.items[0].state, "failed");
});

test("too long is known before sending: in characters, and in bytes on the wire", () => {
  const world = setUp();
  online(world);
  assert.equal(world.chat.isTooLong("x".repeat(10_000)), false);
  assert.equal(world.chat.isTooLong("x".repeat(10_001)), true);
  assert.equal(world.chat.isTooLong("😀".repeat(10_000)), false);
  world.chat.limits = { ...LIMITS, max_message_bytes: 1024 };
  assert.equal(world.chat.isTooLong("字".repeat(330)), true);
});

test("typing is told now and then, and not after sending", () => {
  const world = setUp();
  online(world);
  for (let count = 0; count < 5; count += 1) world.room.typing();
  assert.equal(world.server.last.take("typing").length, 1);
  world.clock.advance(3);
  world.room.typing();
  assert.equal(world.server.last.take("typing").length, 1);
});

test("signs of typing end by themselves, with a message, or with leaving", () => {
  const world = setUp();
  const typists = () => [...world.room.people.typists.values()].map(({ user }) => user.name);
  const begin = () => world.server.last.tell({ op: "typing", room: "lobby", user: BOB });
  online(world);
  begin();
  world.server.last.tell({ op: "typing", room: "lobby", user: ANN });
  assert.deepEqual(typists(), ["bob"]);
  world.clock.advance(5);
  assert.deepEqual(typists(), []);
  begin();
  world.server.last.tell(message(1));
  assert.deepEqual(typists(), []);
  begin();
  world.server.last.tell({ op: "presence", room: "lobby", user: BOB, online: false });
  assert.deepEqual(typists(), []);
});

test("a sign of typing that is older than the message it led to is not shown", () => {
  const world = setUp();
  online(world, { members: [ANN, BOB] });
  world.server.last.tell(message(1));
  world.server.last.tell({ op: "typing", room: "lobby", user: BOB });
  assert.equal(world.room.people.typists.size, 0);
  world.clock.advance(1);
  world.server.last.tell({ op: "typing", room: "lobby", user: BOB });
  assert.equal(world.room.people.typists.size, 1);
});

test("who speaks under a new name is listed under it", () => {
  const world = setUp();
  online(world, { members: [ANN, BOB] });
  world.server.last.tell(message(1, { ...BOB, name: "robert" }));
  assert.equal(world.room.people.members.get(BOB.id).name, "robert");
  assert.equal(world.room.people.count, 2);
});

test("people come, go, and are counted where they are too many to name", () => {
  const world = setUp();
  online(world, { members: [ANN, BOB] });
  const { people } = world.room;
  const presence = (user, isOnline) => world.server.last.tell({ op: "presence", room: "lobby", user, online: isOnline });
  presence(BOB, true);
  assert.equal(people.count, 2);
  presence({ id: "u-cy", name: "cy" }, true);
  assert.equal(people.count, 3);
  presence(BOB, false);
  presence(BOB, false);
  assert.equal(people.count, 2);
  world.server.last.tell({ op: "count", room: "lobby", count: 1234 });
  assert.equal(people.count, 1234);
  presence({ id: "u-unnamed", name: "x" }, false);
  assert.equal(people.count, 1233);
});

test("in a large room more names are asked for", () => {
  const world = setUp();
  online(world, { members: [ANN], count: 300 });
  world.room.look();
  world.room.look();
  const [who] = world.server.last.take("who");
  world.server.last.tell({ op: "members", re: who.id, room: "lobby", members: [ANN, BOB], count: 301 });
  assert.equal(world.room.people.members.size, 2);
  assert.equal(world.room.people.count, 301);
});

test("other rooms' events are not mine", () => {
  const world = setUp();
  online(world);
  world.server.last.tell({ ...message(1), room: "elsewhere" });
  assert.deepEqual(seqs(world.room), []);
});

test("stopping leaves no timer and no listener", () => {
  const world = setUp();
  online(world);
  world.room.say("x");
  world.server.last.tell({ op: "typing", room: "lobby", user: BOB });
  world.chat.stop();
  assert.equal(world.clock.timers.size, 0);
  assert.equal(world.server.last.closed.code, 1000);
});

// --- several rooms, and what is read ---

function joinedAs(socket, name, more = {}) {
  const join = socket.take("join").find(({ room }) => room === name);
  socket.tell({ op: "joined", re: join.id, room: name, epoch: "e", head: 0, recovered: false, topic: "", members: [ANN], count: 1, user: ANN, ...more });
  return join;
}

test("each open room is joined on the one connection and takes its own events", () => {
  const world = setUp();
  const tea = world.chat.open("tea");
  online(world);
  const socket = world.server.last;
  world.chat.connection.send({ op: "ping" });
  assert.equal(world.server.sockets.length, 1);
  socket.tell({ ...message(1), room: "lobby" });
  assert.deepEqual([seqs(world.room), seqs(tea)], [[1], []]);
});

test("a room that is opened later is joined at once; one that is closed is left", () => {
  const world = setUp();
  online(world);
  const tea = world.chat.open("tea", { invitation: "abc" });
  assert.equal(joinedAs(world.server.last, "tea", { head: 1 }).invitation, "abc");
  world.server.last.tell({ ...message(1), room: "tea" });
  assert.deepEqual(seqs(tea), [1]);
  world.chat.close("tea");
  assert.equal(world.server.last.take("leave")[0].room, "tea");
  assert.equal(world.chat.rooms.has("tea"), false);
  assert.equal(world.chat.open("lobby"), world.room);
});

test("what came after my marker is unread, what mentions me is counted apart, and reading is told now and then", () => {
  const world = setUp();
  online(world);
  const { last } = world.server;
  last.tell(message(1, BOB, { mentions: ["u-ann"] }));
  last.tell(message(2));
  assert.deepEqual([world.room.unread, world.room.mentions], [2, 1]);
  world.room.markRead(1);
  world.room.markRead(2);
  assert.deepEqual([world.room.unread, world.room.mentions], [0, 0]);
  world.clock.advance(2);
  assert.deepEqual(last.take("read").map(({ seq }) => seq), [2]);
  last.tell(message(3));
  last.tell({ op: "read", room: "lobby", user: ANN, seq: 3 });
  assert.equal(world.room.unread, 0);
  last.tell(message(4));
  last.tell(message(5, ANN));
  assert.equal(world.room.unread, 0);
});

test("the server's marker says what is unread on coming", () => {
  const world = setUp();
  world.chat.start();
  welcome(world.server.last);
  joinedAs(world.server.last, "lobby", { head: 3, read: 1 });
  for (const seq of [1, 2, 3]) world.server.last.tell(message(seq));
  assert.equal(world.room.unread, 2);
});

test("a server that lacks an operation says so once and is not asked again", () => {
  const world = setUp();
  online(world);
  const { last } = world.server;
  world.chat.sendQuietly({ op: "away", away: true });
  const [away] = last.take("away");
  last.tell({ op: "error", re: away.id, code: "bad_request", message: "op: one of hello, join, say" });
  assert.deepEqual([world.chat.lacks("away"), world.chat.lacks("say")], [true, false]);
  world.chat.sendQuietly({ op: "away", away: false });
  assert.deepEqual(last.take("away"), []);
  assert.deepEqual(world.seen.notices, []);
});

test("a question is answered, refused, or lost with the connection", async () => {
  const world = setUp();
  await assert.rejects(world.chat.ask({ op: "edit" }), { code: "lost" });
  online(world);
  const { last } = world.server;
  const answered = world.chat.ask({ op: "direct", user: "u-bob" });
  last.tell({ op: "direct", re: last.take("direct")[0].id, room: "dm-x", with: BOB });
  assert.equal((await answered).room, "dm-x");
  const refused = world.chat.ask({ op: "kick", room: "lobby", user: "u-bob" });
  last.tell({ op: "error", re: last.take("kick")[0].id, code: "forbidden", message: "no" });
  await assert.rejects(refused, { code: "forbidden" });
  const lost = world.chat.ask({ op: "topic", room: "lobby", text: "x" });
  last.end(1006);
  await assert.rejects(lost, { code: "lost" });
});

test("a room that does not let me in says why, and the others go on", () => {
  const world = setUp();
  online(world);
  const secret = world.chat.open("secret");
  const { last } = world.server;
  const [join] = last.take("join");
  last.tell({ op: "error", re: join.id, code: "private", message: "needs an invitation" });
  assert.equal(secret.error.code, "private");
  assert.equal(world.chat.connection.status.state, "online");
  world.chat.open("secret", { invitation: "t" });
  assert.equal(last.take("join")[0].invitation, "t");
});

test("who is put out of a room is told, keeps the connection, and is not back in by itself", () => {
  const world = setUp();
  online(world);
  world.server.last.tell({ op: "left", room: "lobby", code: 4503, reason: "enough" });
  assert.deepEqual(world.seen.left, [["lobby", { code: "removed", message: "enough" }]]);
  assert.equal(world.room.isJoined, false);
  assert.deepEqual(world.server.last.take("join"), []);
});

test("a reply quotes a message from outside the window, asked for once", () => {
  const world = setUp();
  online(world, { head: 100 });
  world.server.last.tell(message(100, BOB, { reply_to: 3 }));
  assert.equal(world.room.quoted(3), undefined);
  assert.equal(world.room.quoted(3), undefined);
  const [history, more] = world.server.last.take("history");
  assert.deepEqual([history.before, history.limit, more], [4, 1, undefined]);
  world.server.last.tell({ op: "history", re: history.id, room: "lobby", messages: [message(3)], more: true });
  assert.equal(world.room.quoted(3).text, "m3");
  assert.equal(world.room.quoted(100).reply_to, 3);
});

test("a message far back is brought to hand with what was said before it", () => {
  const world = setUp();
  online(world, { head: 900 });
  for (let seq = 851; seq <= 900; seq += 1) world.server.last.tell(message(seq));
  const arrived = [];
  world.room.loadAround(20, (found) => arrived.push(found));
  assert.equal(page(world.server.last, Array.from({ length: 20 }, (_, index) => message(index + 1)), false).before, 21);
  assert.deepEqual([arrived, world.room.timeline.attached, seqs(world.room).length], [[true], false, 20]);
  world.room.loadLatest();
  page(world.server.last, [message(899), message(900)], true);
  assert.equal(world.room.timeline.attached, true);
});

test("an invitation is told, and the list is asked for anew", () => {
  const world = setUp();
  online(world);
  const { last } = world.server;
  const [first] = last.take("rooms");
  last.tell({ op: "rooms", re: first.id, rooms: [{ room: "tea", count: 1, head: 0 }] });
  assert.equal(world.chat.list.length, 1);
  last.tell({ op: "invited", room: "secret", kind: "private", user: BOB });
  assert.deepEqual(world.seen.invited, ["secret"]);
  assert.equal(last.take("rooms").length, 1);
  last.tell({ op: "unread", room: "tea", unread: 4, mentions: 1 });
  assert.deepEqual([world.chat.list[0].unread, world.chat.list[0].mentions], [4, 1]);
});
