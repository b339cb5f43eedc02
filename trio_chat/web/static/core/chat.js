// One person on one connection, in several rooms at once.
//
// Owns the conversation with the server as a whole: hello and resume, which rooms are open, requests and their answers,
// the list of rooms. What is said in a room is room.js's. Tells its owner that something `changed`, and its owner looks.
//
// Whoever I was in earlier connections of this tab (`selves`) is still me. A server that does not know an operation
// says in its error which ones it knows: `lacks` asks that, and what it lacks is not offered again.

import { Connection } from "./connection.js";
import { RETRY } from "./outgoing.js";
import { Room } from "./room.js";

const MAX_SELVES = 20; // earlier ids of mine that are remembered
const OVERLOADED = 1013;
const TEMPORARY = new Set(["rate_limited", "unavailable", "overloaded", "draining"]);
const LIMITS = { max_text_chars: 10_000, max_message_bytes: 65_536, max_rooms: 100, max_file_bytes: 0 }; // until the server says its own
const LOST = { code: "lost", message: "" };

/** Guests are called what they like; anyone else was signed in by the server and is called what it says. */
export const isGuest = ({ id }) => id.startsWith("guest-");

export class Chat {
  /**
   * @param saved `{session, selves}` as `snapshot()` gave it, or null
   * @param on `{changed(), outgoing(room, items), notice({code, message}), refused({code, message}), welcome(user),
   *   left?(room, error), message?(room, event), invited?({room, kind, user})}`
   */
  constructor({ name, open, clock, random, newId, saved = null, on }) {
    Object.assign(this, { name, clock, newId, on });
    this.session = saved?.session ?? null;
    this.selves = Array.isArray(saved?.selves) ? saved.selves.slice(-MAX_SELVES) : [];
    this.user = null;
    this.limits = LIMITS;
    this.rooms = new Map();
    this.list = []; // of all rooms that I may see, as `rooms` said it last
    this.operations = null; // those that the server knows, once it had to say so
    this.requests = new Map();
    this.isWelcome = false;
    this.isAway = false;
    this.connection = new Connection({
      open,
      clock,
      random,
      on: {
        open: () => this.#hello(this.session),
        frame: (frame) => this.#frame(frame),
        lost: (code) => this.#lost(code),
        state: () => on.changed(),
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

  /** Be in this room from now on; it joins when there is a connection. */
  open(name, { saved, invitation = null } = {}) {
    const known = this.rooms.get(name);
    if (known) {
      if (invitation) known.invitation = invitation;
      if (known.error && this.isWelcome) known.join();
      return known;
    }
    const room = new Room({ name, link: this, saved, invitation });
    this.rooms.set(name, room);
    if (this.isWelcome) room.join();
    this.on.changed();
    return room;
  }

  /** Be in this room no more; `forGood` gives up a membership, too. */
  close(name, { forGood = false } = {}) {
    const room = this.rooms.get(name);
    if (!room) return;
    const wasJoined = room.isJoined;
    room.lost(1000);
    this.rooms.delete(name);
    if (wasJoined) this.request({ op: "leave", room: name, ...(forGood ? { for_good: true } : {}) }, () => this.refresh(), () => {});
    this.on.changed();
  }

  isMine(user) {
    return this.selves.includes(user.id);
  }

  /** Whether a message concerns me in particular. */
  isForMe({ user, mentions, mentions_all: all }) {
    return !this.isMine(user) && (all === true || (mentions ?? []).some((id) => this.selves.includes(id)));
  }

  /** The bytes that `text` takes as an operation are too many for this server. */
  isTooLong(text, room = "") {
    const { max_text_chars, max_message_bytes } = this.limits;
    const frame = JSON.stringify({ op: "say", room, text, id: "x".repeat(64) });
    return [...text].length > max_text_chars || new TextEncoder().encode(frame).length > max_message_bytes;
  }

  /** Ask for the list of rooms anew. */
  refresh() {
    if (!this.isWelcome || this.isListing) return;
    this.isListing = true;
    const end = () => (this.isListing = false);
    this.request({ op: "rooms" }, ({ rooms }) => (end(), (this.list = rooms)), end);
  }

  /** I look elsewhere, or am back. */
  setAway(isAway) {
    if (this.isAway === isAway) return;
    this.isAway = isAway;
    this.sendQuietly({ op: "away", away: isAway });
  }

  lacks(operation) {
    return this.operations !== null && !this.operations.has(operation);
  }

  /** What a reload needs. */
  snapshot() {
    return this.session && { session: this.session, selves: this.selves };
  }

  // --- requests ---

  send(frame) {
    return this.connection.send(frame);
  }

  /** Send what has no answer; a server that does not know it is not bothered again. */
  sendQuietly(frame) {
    if (!this.isWelcome || this.lacks(frame.op)) return;
    const id = this.newId();
    this.requests.set(id, { done: () => {}, failed: () => {} });
    if (this.requests.size > 1000) this.requests.delete(this.requests.keys().next().value);
    this.send({ ...frame, id });
  }

  request(frame, done, failed) {
    const id = this.newId();
    this.requests.set(id, { done, failed });
    this.connection.send({ ...frame, id });
  }

  /** The answer to an operation; fails with the server's error, or with `lost` if there is no connection. */
  ask(frame) {
    if (!this.isWelcome) return Promise.reject(LOST);
    return new Promise((resolve, reject) => this.request(frame, resolve, reject));
  }

  /** Seconds after which what failed with `error` may be tried again, or null. */
  patience(error, usual = RETRY) {
    return error.retry_after !== undefined || TEMPORARY.has(error.code) ? (error.retry_after ?? usual) : null;
  }

  #hello(resume) {
    const hello = resume ? { op: "hello", name: this.name, resume } : { op: "hello", name: this.name };
    this.request(hello, (frame) => this.#welcome(frame), (error) => {
      if (error === LOST) return;
      if (this.patience(error) !== null) this.connection.drop(OVERLOADED, error.retry_after);
      else if (resume) this.#hello(null);
      else this.#refuse(error);
    });
  }

  #welcome({ session, user, limits }) {
    this.session = session;
    this.iAm(user);
    this.limits = { ...LIMITS, ...limits };
    this.isWelcome = true;
    for (const room of this.rooms.values()) room.join();
    if (this.rooms.size === 0) this.connection.ready();
    this.refresh();
    if (this.isAway) this.sendQuietly({ op: "away", away: true });
    this.on.welcome(user);
  }

  iAm(user) {
    this.user = user;
    this.selves = [...this.selves.filter((id) => id !== user.id), user.id].slice(-MAX_SELVES);
  }

  /** A room was joined, or refused with `error`: the connection is of use. */
  settled(room, error) {
    this.connection.ready();
    if (error) this.on.left?.(room, error);
  }

  #refuse({ code, message }) {
    this.connection.giveUp(0, message);
    this.#lost(1000);
    this.on.refused({ code, message });
  }

  #lost(code) {
    const waiting = [...this.requests.values()];
    this.requests = new Map();
    this.isWelcome = false;
    this.isListing = false;
    for (const room of this.rooms.values()) room.lost(code);
    for (const { failed } of waiting) failed?.(LOST);
  }

  // --- frames ---

  #frame(frame) {
    const request = this.requests.get(frame.re);
    if (frame.op === "error") this.#learn(frame);
    if (request) {
      this.requests.delete(frame.re);
      if (frame.op === "error") request.failed?.(frame);
      else request.done(frame);
    } else if (frame.op === "error") {
      this.#error(frame);
    } else if (frame.op === "invited") {
      this.refresh();
      this.on.invited?.(frame);
    } else if (frame.op === "unread") {
      this.list = this.list.map((info) => (info.room === frame.room ? { ...info, ...counts(frame) } : info));
      if (!this.list.some((info) => info.room === frame.room)) this.refresh();
      this.on.elsewhere?.(frame);
    } else if (frame.room !== undefined) {
      this.rooms.get(frame.room)?.frame(frame);
    }
    this.on.changed();
  }

  /** `op: one of ...` names what the server knows. */
  #learn({ code, message }) {
    const known = code === "bad_request" && /^op: one of (.+)$/.exec(message ?? "");
    if (known) this.operations = new Set(known[1].split(/,\s*/));
  }

  #error(error) {
    const { code, message } = error;
    const isKnown = [...this.rooms.values()].some((room) => room.refused(error));
    if (!isKnown) this.on.notice({ code, message });
  }
}

const counts = ({ unread, mentions }) => ({ unread, mentions });
