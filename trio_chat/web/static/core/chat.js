// One person in one room: what is said over the connection, and what of it is kept.
//
// Owns the conversation with the server: hello, join, resume, history, who is there, what is sent. Knows the protocol's
// frames and nothing of pages: it tells its owner that something `changed`, and its owner looks.
//
// The rules that nothing is lost or doubled by:
// 1. A join says the position (`epoch`, `since`) of the timeline; events at or before it are ignored.
// 2. An event that skips one ends the connection: the next join asks for what is missing.
// 3. Unsent messages are sent only once the room has been caught up with, so that one which was stored
//    before the connection broke is recognised by its `id` first.
// 4. Whoever I was in earlier connections of this tab (`selves`) is still me.

import { Connection } from "./connection.js";
import { Outgoing, RETRY } from "./outgoing.js";
import { People, TYPING_EVERY } from "./people.js";
import { Timeline } from "./timeline.js";

export const PAGE = 50; // messages in a page of history
const LISTED = 100; // members that `joined` names
const MAX_SELVES = 20; // earlier ids of mine that are remembered
const SKIP = 3000; // events behind the head that are worth replaying; beyond, history on demand is faster
const TOO_BIG = 1009;
const OVERLOADED = 1013;
const TEMPORARY = new Set(["rate_limited", "unavailable", "overloaded", "draining"]);
const LIMITS = { max_text_chars: 10_000, max_message_bytes: 65_536 }; // the server's defaults, until it says its own

/** Guests are called what they like; anyone else was signed in by the server and is called what it says. */
export const isGuest = ({ id }) => id.startsWith("guest-");

function isTemporary({ code, retry_after }) {
  return retry_after !== undefined || TEMPORARY.has(code);
}

export class Chat {
  /**
   * @param saved `{session, room, outgoing}` as `snapshot()` gave it, or `{}`
   * @param on `{changed(), outgoing(items), notice({code, message}), refused({code, message}), welcome(user)}`
   */
  constructor({ room, name, open, clock, random, newId, saved = {}, on }) {
    Object.assign(this, { room, name, clock, newId, on });
    const changed = () => on.changed();
    this.session = saved.session?.session ?? null;
    this.selves = Array.isArray(saved.session?.selves) ? saved.session.selves.slice(-MAX_SELVES) : [];
    this.user = null;
    this.limits = LIMITS;
    this.topic = saved.room?.topic ?? "";
    this.timeline = new Timeline();
    this.timeline.restore(saved.room);
    this.people = new People({ clock, changed });
    this.outgoing = new Outgoing({
      send: (item) => this.#sayItem(item),
      clock,
      newId,
      saved: saved.outgoing,
      changed: () => (on.outgoing(this.outgoing?.snapshot() ?? []), changed()),
    });
    this.following = true;
    this.paging = null;
    this.isLagging = false;
    this.hole = null;
    this.typedAt = -Infinity;
    this.#forgetRequests();
    this.connection = new Connection({
      open,
      clock,
      random,
      on: {
        open: () => this.#hello(this.session),
        frame: (frame) => this.#frame(frame),
        lost: (code) => this.#lost(code),
        state: changed,
      },
    });
  }

  start() {
    this.connection.start();
  }

  stop() {
    this.connection.stop();
    this.#lost(1000);
  }

  isMine(user) {
    return this.selves.includes(user.id);
  }

  /** Say something; it is sent as soon as that is possible. */
  say(text) {
    this.typedAt = -Infinity;
    return this.outgoing.add(text);
  }

  /** The bytes that `text` takes as an operation are too many for this server. */
  isTooLong(text) {
    const { max_text_chars, max_message_bytes } = this.limits;
    const frame = JSON.stringify({ op: "say", room: this.room, text, id: "x".repeat(64) });
    return [...text].length > max_text_chars || new TextEncoder().encode(frame).length > max_message_bytes;
  }

  /** The person is typing: tell the others, now and then. */
  typing() {
    const now = this.clock.now();
    if (!this.isJoined || now - this.typedAt < TYPING_EVERY) return;
    this.typedAt = now;
    this.connection.send({ op: "typing", room: this.room });
  }

  /** Whether the newest message is what is looked at. */
  follow(following) {
    this.following = following;
    if (following) this.timeline.trim();
  }

  loadOlder() {
    const { timeline } = this;
    if (!this.isJoined || this.paging || !timeline.older || timeline.first === null) return;
    this.#page({ before: timeline.first }, "older", ({ messages, more }) => timeline.prepend(messages, more, false));
  }

  loadNewer() {
    const { timeline } = this;
    if (!this.isJoined || this.paging || timeline.attached) return;
    this.#page({ after: timeline.last ?? 0 }, "newer", ({ messages }) => timeline.append(messages));
  }

  /** Go back to the newest messages from wherever in the past. */
  loadLatest() {
    const { timeline } = this;
    if (timeline.attached || this.paging || !this.isJoined) return;
    this.#page({}, "newer", ({ messages, more }) => timeline.replace(messages, more));
  }

  /** What a reload needs, besides `outgoing`. */
  snapshot() {
    const room = this.timeline.snapshot();
    return {
      session: this.session && { session: this.session, selves: this.selves },
      room: room && { ...room, topic: this.topic },
    };
  }

  // --- requests ---

  #forgetRequests() {
    this.isJoined = false;
    this.requests = new Map();
    this.target = Infinity;
    this.paging = null;
  }

  #request(frame, done, failed) {
    const id = this.newId();
    this.requests.set(id, { done, failed });
    this.connection.send({ ...frame, id });
  }

  #hello(resume) {
    const hello = resume ? { op: "hello", name: this.name, resume } : { op: "hello", name: this.name };
    this.#request(hello, (frame) => this.#welcome(frame), (error) => {
      if (isTemporary(error)) this.connection.drop(OVERLOADED, error.retry_after);
      else if (resume) this.#hello(null);
      else this.#refuse(error);
    });
  }

  #welcome({ session, user, limits }) {
    this.session = session;
    this.#iAm(user);
    this.limits = limits;
    this.#join();
    this.on.welcome(user);
  }

  #iAm(user) {
    this.user = user;
    this.selves = [...this.selves.filter((id) => id !== user.id), user.id].slice(-MAX_SELVES);
  }

  #join() {
    const { epoch, seq } = this.timeline;
    const from = seq === null || epoch === null ? { last: PAGE } : { since: seq, epoch };
    this.#request({ op: "join", room: this.room, ...from }, (frame) => this.#joined(frame, from), (error) => {
      if (isTemporary(error)) this.connection.drop(OVERLOADED, error.retry_after);
      else this.#refuse(error);
    });
  }

  #refuse({ code, message }) {
    this.connection.giveUp(0, message);
    this.#lost(1000);
    this.on.refused({ code, message });
  }

  #joined(frame, from) {
    const { timeline } = this;
    if (frame.user) this.#iAm(frame.user);
    this.topic = frame.topic ?? "";
    this.people.reset(frame.members, frame.count, this.user);
    if (frame.count > LISTED) this.#request({ op: "who", room: this.room }, (who) => this.#members(who));
    this.isJoined = true;
    this.target = frame.head;
    if (from.since === undefined) timeline.reset(frame.epoch, frame.head === 0 ? 0 : null);
    else if (!frame.recovered) this.#startOver(frame);
    else if (frame.head - from.since > SKIP) this.#startOver(frame);
    else timeline.epoch = frame.epoch;
    this.connection.ready();
    this.#caughtUp();
  }

  /** What was at hand does not lead to the present: take the newest page instead. */
  #startOver({ epoch, head, recovered }) {
    const { timeline } = this;
    timeline.reset(epoch, head);
    this.target = Infinity;
    this.#page({}, "older", ({ messages, more }) => {
      timeline.prepend(messages, more, true);
      for (const message of messages) if (this.isMine(message.user)) this.outgoing.settle(message.id);
      if (!recovered) timeline.markReloaded();
      this.target = head;
      this.#caughtUp();
    });
  }

  #members({ members, count }) {
    this.people.reset(members, count, this.user);
  }

  #page(range, direction, take) {
    this.paging = direction;
    this.on.changed();
    const frame = { op: "history", room: this.room, limit: PAGE, ...range };
    const { epoch } = this.timeline;
    const end = () => (this.paging = null);
    this.#request(frame, (page) => (end(), this.timeline.epoch === epoch && take(page)), end);
  }

  #caughtUp() {
    const { seq } = this.timeline;
    if (!this.isJoined || seq === null || seq < this.target) return;
    this.target = 0;
    this.outgoing.settleUpTo(seq);
    if (!this.outgoing.isOpen) this.outgoing.open();
  }

  #sayItem({ id, text }) {
    return this.connection.send({ op: "say", room: this.room, text, id });
  }

  #lost(code) {
    if (code === TOO_BIG) this.outgoing.refuseSent({ code: "too_big", message: "" });
    this.#forgetRequests();
    this.isLagging = false;
    this.outgoing.close();
    this.people.silence();
  }

  // --- frames ---

  #frame(frame) {
    const request = this.requests.get(frame.re);
    if (request) {
      this.requests.delete(frame.re);
      if (frame.op === "error") request.failed?.(frame);
      else request.done(frame);
    } else if (frame.op === "error") {
      this.#error(frame);
    } else if (frame.room === this.room && this.isJoined) {
      this.#roomFrame(frame);
    }
    this.on.changed();
  }

  #roomFrame(frame) {
    if (frame.op === "ack") this.#ack(frame);
    else if (frame.op === "presence") this.people.presence(frame.user, frame.online);
    else if (frame.op === "count") this.people.setCount(frame.count);
    else if (frame.op === "typing") this.#typed(frame.user);
    else if (frame.op === "lagging") this.isLagging = true;
    else if (frame.op === "gap") this.#gap(frame);
    else if (Number.isSafeInteger(frame.seq) && typeof frame.at === "number") this.#event(frame);
  }

  #event(event) {
    const { timeline } = this;
    const taken = timeline.take(event, this.following);
    if (taken === "hole") {
      this.#skipped(event);
      return;
    }
    this.isLagging = false;
    if (event.op === "topic") this.topic = event.text ?? "";
    if (event.op === "message") {
      this.people.spoke(event.user);
      if (event.id && this.isMine(event.user)) this.outgoing.settle(event.id);
    }
    this.#caughtUp();
  }

  /** Ask again for what is missing; if the server cannot give it a second time, go on and show the gap. */
  #skipped(event) {
    const { seq } = this.timeline;
    if (this.hole !== event.seq) {
      this.hole = event.seq;
      this.connection.drop();
      return;
    }
    this.timeline.gap(seq + 1, event.seq - 1);
    this.#event(event);
  }

  #gap({ from, to }) {
    this.timeline.gap(from, to);
    this.#caughtUp();
  }

  #ack({ re, seq, at }) {
    this.outgoing.acknowledged(re, seq, at);
    if (this.timeline.seq !== null && seq <= this.timeline.seq) this.outgoing.settle(re);
  }

  #typed(user) {
    if (!this.isMine(user)) this.people.typing(user);
  }

  #error(error) {
    const { re, code, message, retry_after } = error;
    const wait = isTemporary(error) ? (retry_after ?? RETRY) : null;
    const known = re !== undefined && this.outgoing.refused(re, { code, message }, wait);
    if (!known) this.on.notice({ code, message });
  }
}
