// One room that I am in: its timeline, its people, what I write in it, and what I have read.
//
// Owns the conversation about one room: join, resume, history, events and signals. Knows the protocol's frames; sends
// and asks through the Chat that it is given (`link`), and refuses to know about the connection and other rooms.
//
// The rules that nothing is lost or doubled by:
// 1. A join says the position (`epoch`, `since`) of the timeline; events at or before it are ignored.
// 2. An event that skips one ends the connection: the next join asks for what is missing.
// 3. Unsent messages are sent only once the room has been caught up with, so that one which was stored
//    before the connection broke is recognised by its `id` first.

import { Outgoing, RETRY } from "./outgoing.js";
import { People, TYPING_EVERY } from "./people.js";
import { Standing } from "./standing.js";
import { Timeline } from "./timeline.js";

export const PAGE = 50; // messages in the first page
export const MORE = 100; // messages in further pages: about two screens of a wheel that is turned fast
const LISTED = 100; // members that `joined` names
const SKIP = 3000; // events behind the head that are worth replaying; beyond, history on demand is faster
const READ_EVERY = 1.5; // seconds between markers that are sent
const QUOTES = 200; // messages from outside the window that replies show
const TOO_BIG = 1009;

export class Room {
  /**
   * @param link the Chat
   * @param saved `{room, outgoing}` as `snapshot()` and `on.outgoing` gave it, or `{}`
   * @param invitation the token of a link, or null
   */
  constructor({ name, link, saved = {}, invitation = null }) {
    Object.assign(this, { name, link, invitation });
    const { clock, newId, on } = link;
    const changed = () => on.changed();
    this.topic = saved.room?.topic ?? "";
    this.timeline = new Timeline((user) => link.isMine(user));
    this.timeline.restore(saved.room);
    this.people = new People({ clock, changed });
    this.standing = new Standing(link);
    this.outgoing = new Outgoing({
      send: (item) => this.#sayItem(item),
      clock,
      newId,
      saved: saved.outgoing,
      changed: () => (on.outgoing(this.name, this.outgoing?.snapshot() ?? []), changed()),
    });
    this.read = Number.isSafeInteger(saved.room?.read) ? saved.room.read : null;
    this.following = true;
    this.isLagging = false;
    this.error = null; // why I can't be in this room
    this.hole = null;
    this.typedAt = -Infinity;
    this.quotes = new Map();
    this.heard = Infinity; // nobody is told of messages up to here: they were there before
    this.unread = 0;
    this.mentions = 0;
    this.#forget();
  }

  #forget() {
    this.isJoined = false;
    this.isJoining = false;
    this.target = Infinity;
    this.paging = null;
    this.rejoin?.();
    this.telling?.();
    this.rejoin = this.telling = null;
    this.hasLooked = true;
  }

  // --- what I do ---

  /** Say something; it is sent as soon as that is possible. `more`: `reply_to`, `files`. */
  say(text, more = {}) {
    this.typedAt = -Infinity;
    return this.outgoing.add(text, more);
  }

  /** I am typing: tell the others, now and then. */
  typing() {
    const now = this.link.clock.now();
    if (!this.isJoined || now - this.typedAt < TYPING_EVERY) return;
    this.typedAt = now;
    this.link.send({ op: "typing", room: this.name });
  }

  /** Whether the newest message is what is looked at. */
  follow(following) {
    this.following = following;
    if (following) this.timeline.trim();
  }

  loadOlder() {
    const { timeline } = this;
    if (!this.isJoined || this.paging || !timeline.older || timeline.first === null) return;
    this.#page({ before: timeline.first, limit: MORE }, "older", ({ messages, more, as_of }) => (
      timeline.prepend(messages, more, false, as_of)
    ));
  }

  loadNewer() {
    const { timeline } = this;
    if (!this.isJoined || this.paging || timeline.attached) return;
    this.#page({ after: timeline.last ?? 0, limit: MORE }, "newer", ({ messages, as_of }) => timeline.append(messages, as_of));
  }

  /** Go back to the newest messages from wherever in the past. */
  loadLatest() {
    const { timeline } = this;
    if (timeline.attached || this.paging || !this.isJoined) return;
    this.#page({}, "newer", ({ messages, more, as_of }) => timeline.replace(messages, more, as_of));
  }

  /** Have the message `seq` at hand, with what was said before it; `done(found)`. */
  loadAround(seq, done) {
    const { timeline } = this;
    if (timeline.find(seq)) return done(true);
    if (!this.isJoined || this.paging) return done(false);
    this.#page({ before: seq + 1 }, "older", ({ messages, more, as_of }) => {
      timeline.replace(messages, more, as_of);
      done(timeline.find(seq) !== null);
    });
  }

  /** I look at this room: who has which role, who is away, and who is there beyond the first hundred? */
  look() {
    if (this.hasLooked || !this.isJoined) return;
    this.hasLooked = true;
    this.link.request({ op: "who", room: this.name }, (who) => this.#members(who));
  }

  /** The message that a reply quotes: it, `undefined` while it is on its way, `null` if it can't be had. */
  quoted(seq) {
    const found = this.timeline.find(seq) ?? this.quotes.get(seq);
    if (found !== undefined || this.quotes.has(seq) || !this.isJoined) return found;
    if (this.quotes.size >= QUOTES) this.quotes.delete(this.quotes.keys().next().value);
    this.quotes.set(seq, undefined);
    const take = ({ messages }) => this.quotes.set(seq, messages.find((message) => message.seq === seq) ?? null);
    this.link.request({ op: "history", room: this.name, before: seq + 1, limit: 1 }, take, () => this.quotes.delete(seq));
    return undefined;
  }

  /** Everything up to `seq` has been seen by me; the server is told now and then. */
  markRead(seq) {
    if (!this.isJoined || seq <= (this.read ?? 0)) return;
    this.#readUpTo(seq);
    this.telling ??= this.link.clock.after(READ_EVERY, () => {
      this.telling = null;
      this.link.sendQuietly({ op: "read", room: this.name, seq: this.read });
    });
  }

  // --- coming and going ---

  join() {
    if (this.isJoining || this.isJoined) return;
    this.isJoining = true;
    const { epoch, seq } = this.timeline;
    const from = seq === null || epoch === null ? { last: PAGE } : { since: seq, epoch };
    const invitation = this.invitation ? { invitation: this.invitation } : {};
    this.link.request({ op: "join", room: this.name, ...from, ...invitation }, (frame) => this.#joined(frame, from), (error) => (
      this.#notJoined(error)
    ));
  }

  #notJoined(error) {
    this.isJoining = false;
    if (error.code === "lost") return;
    const wait = this.link.patience(error);
    if (wait === null) this.error = error;
    else this.rejoin = this.link.clock.after(wait, () => this.join());
    this.link.settled(this, wait === null ? error : null);
  }

  #joined(frame, from) {
    const { timeline, link } = this;
    if (frame.user) link.iAm(frame.user);
    this.error = null;
    this.isJoining = false;
    this.isJoined = true;
    this.topic = frame.topic ?? "";
    this.standing.reset(frame);
    this.people.reset(frame.members, frame.count, link.user);
    this.hasLooked = frame.count <= LISTED && frame.role === undefined;
    this.target = this.heard = frame.head;
    if (from.since === undefined) timeline.reset(frame.epoch, frame.head === 0 ? 0 : null);
    else if (!frame.recovered) this.#startOver(frame);
    else if (frame.head - from.since > SKIP) this.#startOver(frame);
    else timeline.epoch = frame.epoch;
    const seen = frame.read ?? this.read ?? frame.head;
    this.#readUpTo(frame.recovered || from.since === undefined ? Math.max(seen, this.read ?? 0) : frame.head);
    link.settled(this, null);
    this.#caughtUp();
  }

  /** What was at hand does not lead to the present: take the newest page instead. */
  #startOver({ epoch, head, recovered }) {
    const { timeline } = this;
    timeline.reset(epoch, head);
    this.target = Infinity;
    this.#page({}, "older", ({ messages, more, as_of }) => {
      timeline.prepend(messages, more, true, as_of);
      for (const message of messages) if (this.link.isMine(message.user)) this.outgoing.settle(message.id);
      if (!recovered) timeline.markReloaded();
      this.target = head;
      this.#caughtUp();
    });
  }

  #members({ members, count, roles, away }) {
    this.people.reset(members, count, this.link.user, away);
    this.standing.setRoles(roles);
  }

  #page(range, direction, take) {
    this.paging = direction;
    this.link.on.changed();
    const { epoch } = this.timeline;
    const end = () => (this.paging = null);
    const frame = { op: "history", room: this.name, limit: PAGE, ...range };
    this.link.request(frame, (page) => (end(), this.timeline.epoch === epoch && take(page)), end);
  }

  #caughtUp() {
    const { seq } = this.timeline;
    if (!this.isJoined || seq === null || seq < this.target) return;
    this.target = 0;
    this.outgoing.settleUpTo(seq);
    if (!this.outgoing.isOpen) this.outgoing.open();
  }

  #sayItem({ id, text, more }) {
    return this.link.send({ op: "say", room: this.name, text, id, ...more });
  }

  /** The connection is gone, or I am not in the room any more. */
  lost(code) {
    if (code === TOO_BIG) this.outgoing.refuseSent({ code: "too_big", message: "" });
    this.#forget();
    this.isLagging = false;
    this.outgoing.close();
    this.people.silence();
  }

  // --- what comes ---

  /** A frame that names this room and answers nothing that waits. */
  frame(frame) {
    if (frame.op === "left") this.#left(frame);
    else if (!this.isJoined) return;
    else if (frame.op === "ack") this.#ack(frame);
    else if (frame.op === "presence") this.people.presence(frame.user, frame.online, frame.away);
    else if (frame.op === "count") this.people.setCount(frame.count);
    else if (frame.op === "typing") this.#typed(frame.user);
    else if (frame.op === "read") this.#wasRead(frame);
    else if (frame.op === "lagging") this.isLagging = true;
    else if (frame.op === "gap") this.#gap(frame);
    else if (Number.isSafeInteger(frame.seq) && typeof frame.at === "number") this.#event(frame);
  }

  #left({ code, reason }) {
    this.lost(1000);
    this.error = { code: code === 4503 ? "removed" : "left", message: reason ?? "" };
    this.link.on.left?.(this, this.error);
  }

  #event(event) {
    const { link } = this;
    const taken = this.timeline.take(event, this.following);
    if (taken === "hole") {
      this.#skipped(event);
      return;
    }
    this.isLagging = false;
    if (event.op === "message" && event.id && link.isMine(event.user)) this.outgoing.settle(event.id);
    if (taken === "taken") this.#taken(event);
    this.#caughtUp();
  }

  #taken(event) {
    if (event.op === "topic") this.topic = event.text ?? "";
    if (event.op === "message") this.#message(event);
    else this.standing.event(event);
    this.quotes.delete(event.target);
    if (event.op === "message" && event.seq > this.heard) this.link.on.message?.(this, event);
  }

  #message(event) {
    this.people.spoke(event.user);
    if (this.link.isMine(event.user)) {
      if (event.seq > (this.read ?? 0)) this.#readUpTo(event.seq);
    } else if (event.seq > (this.read ?? 0)) {
      this.unread += 1;
      if (this.link.isForMe(event)) this.mentions += 1;
    }
  }

  #readUpTo(seq) {
    this.read = seq;
    const after = this.timeline.entries.filter((entry) => entry.seq > seq && entry.op === "message" && !this.link.isMine(entry.user));
    this.unread = after.length;
    this.mentions = after.filter((entry) => this.link.isForMe(entry)).length;
  }

  /** A marker of mine from elsewhere; others' are not shown. */
  #wasRead({ user, seq }) {
    if (this.link.isMine(user) && seq > (this.read ?? 0)) this.#readUpTo(seq);
  }

  /** Ask again for what is missing; if the server cannot give it a second time, go on and show the gap. */
  #skipped(event) {
    const { seq } = this.timeline;
    if (this.hole !== event.seq) {
      this.hole = event.seq;
      this.link.connection.drop();
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
    if (!this.link.isMine(user)) this.people.typing(user);
  }

  /** Whether this error was about an unsent message of this room. */
  refused(error) {
    const { re, code, message } = error;
    const wait = this.link.patience(error, RETRY);
    return re !== undefined && this.outgoing.refused(re, { code, message }, wait);
  }

  /** What a reload needs, besides `outgoing`. */
  snapshot() {
    const saved = this.timeline.snapshot();
    return saved && { ...saved, topic: this.topic, read: this.read };
  }
}
