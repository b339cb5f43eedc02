import assert from "node:assert/strict";
import { test } from "node:test";

import { Connection, LIMITS, backoff } from "../../../trio_chat/web/static/core/connection.js";
import { FakeClock, FakeServer } from "./fakes.js";

function setUp({ random = () => 0.5 } = {}) {
  const clock = new FakeClock();
  const server = new FakeServer();
  const seen = { frames: [], lost: [], opened: 0 };
  const connection = new Connection({
    open: server.open,
    clock,
    random,
    on: {
      open: () => (seen.opened += 1),
      frame: (frame) => seen.frames.push(frame),
      lost: (code) => seen.lost.push(code),
      state: (status) => (seen.status = status),
    },
  });
  const online = () => {
    connection.start();
    server.last.accept();
    connection.ready();
  };
  return { clock, server, seen, connection, online };
}

test("the wait is a random part of a time that doubles up to a cap", () => {
  for (const [attempt, full] of [[0, 0.5], [1, 1], [2, 2], [5, 16], [6, 30], [1000, 30]]) {
    assert.equal(backoff(attempt, () => 1), full);
    assert.equal(backoff(attempt, () => 0), 0.1);
  }
});

test("it comes back by itself after every code up to 4499", () => {
  for (const code of [1000, 1001, 1006, 1012, 1013, 4008, 4029, 4499]) {
    const { clock, server, seen, online } = setUp();
    online();
    server.last.end(code);
    assert.equal(seen.status.state, "waiting");
    clock.advance(0.25);
    assert.equal(server.sockets.length, 2, `after ${code}`);
  }
});

test("it stays away from 4500 on, says why, and comes back when asked to", () => {
  for (const code of [4500, 4501, 4503, 4510]) {
    const { clock, server, seen, connection, online } = setUp();
    online();
    server.last.end(code, "because");
    assert.deepEqual(seen.status, { state: "stopped", code, reason: "because" });
    clock.advance(10_000);
    assert.equal(server.sockets.length, 1);
    connection.retryNow();
    assert.equal(server.sockets.length, 2);
  }
});

test("a bye's code and words count when the socket then just breaks", () => {
  const { server, seen, online } = setUp();
  online();
  server.last.tell({ op: "bye", code: 4503, reason: "you were removed" });
  server.last.end(1006);
  assert.deepEqual(seen.status, { state: "stopped", code: 4503, reason: "you were removed" });
});

test("the server's retry_after is kept to, and not for the next time", () => {
  for (const code of [1012, 4029]) {
    const { clock, server, seen, online } = setUp();
    online();
    server.last.tell({ op: "bye", code, reason: "not now", retry_after: 7.5 });
    server.last.end(code);
    assert.equal(seen.status.retryAt, clock.now() + 7.5);
    clock.advance(7.4);
    assert.equal(server.sockets.length, 1);
    clock.advance(0.1);
    assert.equal(server.sockets.length, 2);
    server.last.end(1006);
    assert.ok(seen.status.retryAt - clock.now() < 1);
  }
});

test("neither waking up nor the network ends a wait that the server asked for; a person does", () => {
  const { clock, server, seen, connection, online } = setUp();
  online();
  server.last.tell({ op: "bye", code: 4029, reason: "too fast", retry_after: 5 });
  server.last.end(4029);
  connection.probe();
  connection.networkChanged(false);
  connection.networkChanged(true);
  assert.deepEqual([seen.status.state, seen.status.offline, server.sockets.length], ["waiting", false, 1]);
  connection.retryNow();
  assert.equal(server.sockets.length, 2);
  server.last.accept();
  server.last.tell({ op: "bye", code: 4029, reason: "too fast", retry_after: 5 });
  server.last.end(4029);
  clock.time += 6; // asleep: no timer ran
  connection.probe();
  assert.equal(server.sockets.length, 3);
});

test("nonsense as retry_after is not believed", () => {
  for (const retry_after of ["soon", -1, null, 1e12]) {
    const { clock, server, seen, online } = setUp();
    online();
    server.last.tell({ op: "bye", code: 1012, reason: "", retry_after });
    server.last.end(1012);
    assert.ok(seen.status.retryAt - clock.now() <= LIMITS.retryAfter);
  }
});

test("waits grow with failures, and only a connection that lasted ends that", () => {
  const { clock, server, connection, seen } = setUp({ random: () => 1 });
  connection.start();
  const waits = [];
  for (let round = 0; round < 4; round += 1) {
    server.last.accept();
    connection.ready();
    server.last.end(1006);
    waits.push(seen.status.retryAt - clock.now());
    clock.advance(waits.at(-1));
  }
  assert.deepEqual(waits, [0.5, 1, 2, 4]);
  server.last.accept();
  connection.ready();
  clock.advance(LIMITS.stable);
  server.last.end(1006);
  assert.equal(seen.status.retryAt - clock.now(), 0.5);
});

test("until it was up once, it counts first attempts", () => {
  const { clock, server, seen, connection } = setUp({ random: () => 0 });
  connection.start();
  for (const attempt of [1, 2, 3]) {
    assert.equal(seen.status.first, true);
    server.last.end(1006);
    assert.deepEqual([seen.status.state, seen.status.first, seen.status.attempt], ["waiting", true, attempt]);
    clock.advance(0.1);
  }
  server.last.accept();
  connection.ready();
  server.last.end(1006);
  assert.deepEqual([seen.status.state, seen.status.first], ["waiting", false]);
  clock.advance(0.1);
  assert.deepEqual([seen.status.state, seen.status.first], ["connecting", false]);
});

test("an attempt that comes to nothing is given up", () => {
  const { clock, server, seen, connection } = setUp();
  connection.start();
  clock.advance(LIMITS.connect);
  assert.equal(seen.status.state, "waiting");
  assert.notEqual(server.last.closed, null);
});

test("a socket that cannot even be made is one failure among others", () => {
  const { clock, server, seen, connection } = setUp();
  const { open } = server;
  connection.openSocket = () => {
    throw new Error("not today");
  };
  connection.start();
  assert.equal(seen.status.state, "waiting");
  connection.openSocket = open;
  clock.advance(1);
  assert.equal(server.sockets.length, 1);
});

test("silence leads to a ping, an answer to peace, and none to the next connection", () => {
  const { clock, server, seen, online } = setUp();
  online();
  clock.advance(LIMITS.silence);
  assert.deepEqual(server.last.take(), [{ op: "ping" }]);
  server.last.tell({ op: "pong" });
  assert.deepEqual(seen.frames, []);
  clock.advance(LIMITS.silence - 1);
  server.last.tell({ op: "presence" });
  clock.advance(LIMITS.silence - 1);
  assert.deepEqual(server.last.take(), []);
  clock.advance(1 + LIMITS.pong);
  assert.equal(seen.status.state, "waiting");
  assert.deepEqual(seen.lost, [1006]);
});

test("what a given up socket still delivers is not heard", () => {
  const { clock, server, seen, connection, online } = setUp();
  online();
  const [first] = server.sockets;
  connection.drop();
  clock.advance(1);
  first.tell({ op: "message" });
  first.end(4503);
  assert.deepEqual(seen.frames, []);
  assert.equal(seen.status.state, "connecting");
});

test("waking up is a reason to doubt: one quick ping", () => {
  const { clock, server, seen, connection, online } = setUp();
  online();
  connection.probe();
  assert.deepEqual(server.last.take(), [{ op: "ping" }]);
  clock.advance(LIMITS.probe);
  assert.equal(seen.status.state, "waiting");
});

test("waking up while waiting ends the wait", () => {
  const { server, connection, online } = setUp();
  online();
  server.last.end(1006);
  connection.probe();
  assert.equal(server.sockets.length, 2);
});

test("a system that says it is offline is doubted, not believed; that it is online again ends the wait", () => {
  const { clock, server, seen, connection, online } = setUp({ random: () => 1 });
  online();
  connection.networkChanged(false);
  server.last.tell({ op: "pong" });
  clock.advance(LIMITS.probe);
  assert.equal(seen.status.state, "online");
  server.last.end(1006);
  assert.equal(seen.status.offline, true);
  connection.networkChanged(true);
  assert.equal(server.sockets.length, 2);
});

test("going offline while waiting is shown", () => {
  const { server, seen, connection, online } = setUp();
  online();
  server.last.end(1006);
  assert.equal(seen.status.offline, false);
  connection.networkChanged(false);
  assert.equal(seen.status.offline, true);
  assert.equal(server.sockets.length, 1);
});

test("stopping closes with 1000 and leaves no timer", () => {
  const { clock, server, seen, connection, online } = setUp();
  online();
  connection.stop();
  assert.equal(server.last.closed.code, 1000);
  assert.equal(seen.status.state, "idle");
  assert.equal(clock.timers.size, 0);
  assert.equal(connection.send({ op: "ping" }), false);
});

test("what is not a JSON object is passed over", () => {
  const { server, seen, online } = setUp();
  online();
  for (const text of ["", "{", "null", "3", '"x"']) server.last.say(text);
  assert.deepEqual(seen.frames, []);
});
