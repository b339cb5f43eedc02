import assert from "node:assert/strict";
import { test } from "node:test";

import { ACK_PATIENCE, MAX_ITEMS, Outgoing } from "../../../trio_chat/web/static/core/outgoing.js";
import { FakeClock, counter } from "./fakes.js";

function setUp({ saved } = {}) {
  const clock = new FakeClock();
  const sent = [];
  const newId = counter();
  const outgoing = new Outgoing({ send: (item) => sent.push(item.id) > 0, clock, newId, saved, changed: () => {} });
  const states = () => outgoing.items.map(({ id, state }) => `${id} ${state}`);
  return { clock, sent, outgoing, states };
}

test("messages go one at a time, in order", () => {
  const { sent, outgoing, states } = setUp();
  outgoing.add("a");
  outgoing.add("b");
  assert.deepEqual(sent, []);
  outgoing.open();
  assert.deepEqual(sent, ["id-1"]);
  outgoing.acknowledged("id-1", 1, 0);
  assert.deepEqual(sent, ["id-1", "id-2"]);
  assert.deepEqual(states(), ["id-1 stored", "id-2 sending"]);
  outgoing.settle("id-1");
  outgoing.settle("id-2");
  assert.deepEqual(states(), []);
});

test("a lost connection sends what was on its way again with the same id", () => {
  const { sent, outgoing, states } = setUp();
  outgoing.open();
  outgoing.add("a");
  outgoing.close();
  assert.deepEqual(states(), ["id-1 waiting"]);
  outgoing.open();
  assert.deepEqual(sent, ["id-1", "id-1"]);
});

test("what is not answered is sent again with the same id", () => {
  const { clock, sent, outgoing } = setUp();
  outgoing.open();
  outgoing.add("a");
  clock.advance(ACK_PATIENCE);
  assert.deepEqual(sent, ["id-1", "id-1"]);
});

test("a temporary refusal holds all until it is over, so that order is kept", () => {
  const { clock, sent, outgoing } = setUp();
  outgoing.open();
  outgoing.add("a");
  outgoing.add("b");
  outgoing.refused("id-1", { code: "unavailable" }, 2);
  clock.advance(1.9);
  outgoing.add("c");
  assert.deepEqual(sent, ["id-1"]);
  clock.advance(0.1);
  assert.deepEqual(sent, ["id-1", "id-1"]);
});

test("a refusal for good fails that one and goes on; its writer may send it again or delete it", () => {
  const { sent, outgoing, states } = setUp();
  outgoing.open();
  outgoing.add("a");
  outgoing.add("b");
  outgoing.refused("id-1", { code: "bad_request", message: "no" }, null);
  assert.deepEqual(states(), ["id-1 failed", "id-2 sending"]);
  outgoing.retry("id-1");
  assert.deepEqual(states(), ["id-2 sending", "id-1 waiting"]);
  outgoing.settle("id-2");
  assert.deepEqual(sent, ["id-1", "id-2", "id-1"]);
  outgoing.refused("id-1", { code: "bad_request", message: "no" }, null);
  outgoing.remove("id-1");
  assert.deepEqual(states(), []);
});

test("what may have reached the server cannot be deleted", () => {
  const { outgoing, states } = setUp();
  outgoing.add("a");
  outgoing.add("b");
  outgoing.open();
  outgoing.close();
  outgoing.remove("id-1");
  outgoing.remove("id-2");
  assert.deepEqual(states(), ["id-1 waiting"]);
});

test("a reload keeps everything: what was on its way waits, what failed has failed", () => {
  const { outgoing } = setUp();
  outgoing.open();
  outgoing.add("a");
  outgoing.refused("id-1", { code: "x", message: "y" }, null);
  outgoing.add("b");
  const saved = JSON.parse(JSON.stringify(outgoing.snapshot()));
  const next = setUp({ saved });
  assert.deepEqual(next.states(), ["id-1 failed", "id-2 waiting"]);
  assert.equal(next.outgoing.removable(next.outgoing.items[1]), false);
  next.outgoing.open();
  assert.deepEqual(next.sent, ["id-2"]);
});

test("nonsense in storage is passed over", () => {
  for (const saved of [null, "x", {}, [null, 3, { id: 1, text: "t" }, { id: "i" }]]) {
    assert.deepEqual(setUp({ saved }).states(), []);
  }
});

test("an acknowledged message that the room has passed is history", () => {
  const { outgoing, states } = setUp();
  outgoing.open();
  outgoing.add("a");
  outgoing.acknowledged("id-1", 5, 0);
  outgoing.settleUpTo(4);
  assert.deepEqual(states(), ["id-1 stored"]);
  outgoing.settleUpTo(5);
  assert.deepEqual(states(), []);
});

test("there is an end to what is kept", () => {
  const { outgoing } = setUp();
  for (let count = 0; count < MAX_ITEMS; count += 1) outgoing.add("x");
  assert.equal(outgoing.isFull, true);
});

test("what broke the connection is given up", () => {
  const { outgoing, states } = setUp();
  outgoing.open();
  outgoing.add("a");
  outgoing.add("b");
  outgoing.refuseSent({ code: "too_big" });
  outgoing.close();
  assert.deepEqual(states(), ["id-1 failed", "id-2 waiting"]);
});
