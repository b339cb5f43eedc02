// The part of a room's history that is at hand, and the position up to which all of it was seen.
//
// Owns order and completeness: events are taken once, in `seq` order, and a hole is noticed, never papered over.
// Keeps a bounded window of messages: trimmed at the old end while its end is being followed, and "detached" from
// the newest when someone reads far back. Refuses to know about connections, unsent messages and pictures on a screen.
//
// Messages are held as they are now: later events change them, whether they came before or after the page of history.
//
// Words: `seq` is the position (the last event taken, whatever its kind), `newest` the last message's seq,
// `attached` says that the window reaches to it, `older` that there is more before the window.

import { changed, isChange } from "./changes.js";

export const WINDOW = 500; // messages kept while the end is followed
export const SLACK = 50; // trimming in steps, not one message at a time
export const CEILING = 1000; // messages at hand at most, wherever one reads
const RECENT = 500; // changes remembered for pages that were made before them
const TOLD = new Set(["topic", "created", "member", "asked", "settings"]); // other events that are shown
export const KEPT = 200; // messages that a snapshot holds
export const KEPT_CHARS = 400_000; // and their text's length; a tab may keep about 5 million characters

export class Timeline {
  /** @param isMine `(user) => boolean` */
  constructor(isMine = () => false) {
    this.isMine = isMine;
    this.reset(null, null);
  }

  /** Begin anew in `epoch` at position `seq`: `null` when the first event will say it. */
  reset(epoch, seq) {
    this.epoch = epoch;
    this.seq = seq;
    this.entries = [];
    this.newest = 0;
    this.attached = true;
    this.older = false;
    this.changes = [];
    return this;
  }

  get first() {
    return this.entries[0]?.seq ?? null;
  }

  get last() {
    return this.entries.at(-1)?.seq ?? null;
  }

  /** Take a live or replayed room event: "taken", "known" (seen before) or "hole" (something before it is missing). */
  take(event, following) {
    if (this.seq !== null && event.seq <= this.seq) return "known";
    if (this.seq !== null && event.seq > this.seq + 1) return "hole";
    if (this.seq === null) this.older = event.seq > 1;
    this.seq = event.seq;
    if (event.op === "message") this.#add(event, following);
    else if (isChange(event)) this.#change(event);
    else if (TOLD.has(event.op) && this.attached) this.entries.push({ kind: "event", seq: event.seq, event });
    return "taken";
  }

  #change(event) {
    this.changes.push(event);
    if (this.changes.length > RECENT) this.changes.shift();
    const index = this.indexOf(event.target);
    if (index >= 0 && this.entries[index].op === "message") {
      this.entries[index] = changed(this.entries[index], event, this.isMine);
    }
  }

  /** Where the entry with this seq is, or -1. */
  indexOf(seq) {
    let low = 0;
    let high = this.entries.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (this.entries[middle].seq === seq) return middle;
      if (this.entries[middle].seq < seq) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** The message with this seq, if it is at hand. */
  find(seq) {
    const entry = this.entries[this.indexOf(seq)];
    return entry?.op === "message" ? entry : null;
  }

  /** Events up to and including `to` are gone for good: say so where they would have been. */
  gap(from, to) {
    if (this.seq !== null && to <= this.seq) return;
    this.seq = to;
    this.#add({ kind: "gap", seq: to, from, to }, true);
  }

  /** Say at the end of what is there that history was loaded again. */
  markReloaded() {
    this.entries.push({ kind: "reloaded", seq: this.seq });
  }

  /** Put a page of history before the window. */
  prepend(messages, more, following, asOf = 0) {
    const fresh = this.#fresh(messages, 0, this.first ?? Infinity, asOf);
    this.entries.unshift(...fresh);
    this.older = more;
    this.newest = Math.max(this.newest, fresh.at(-1)?.seq ?? 0);
    if (this.entries.length > CEILING && !following) {
      this.entries.length = CEILING;
      this.attached = false;
    }
  }

  /** Put a page of history after a detached window. */
  append(messages, asOf = 0) {
    this.entries.push(...this.#fresh(messages, this.last ?? 0, Infinity, asOf));
    this.attached = (this.last ?? 0) >= this.newest;
    this.#trim(CEILING - SLACK);
  }

  /** Show the newest page instead of what is shown. */
  replace(messages, more, asOf = 0) {
    this.entries = [];
    this.prepend(messages, more, true, asOf);
    this.attached = (this.last ?? 0) >= this.newest;
  }

  /** Drop what is far above the end, when the end is what is looked at. */
  trim() {
    if (this.attached && this.entries.length > WINDOW + SLACK) this.#trim(WINDOW);
  }

  /** What a reload needs: the position and the last messages, bounded. */
  snapshot() {
    if (this.epoch === null || this.seq === null || !this.attached) return null;
    let characters = 0;
    let start = this.entries.length;
    while (start > 0 && this.entries.length - start < KEPT) {
      characters += this.entries[start - 1].text?.length ?? 0;
      if (characters > KEPT_CHARS) break;
      start -= 1;
    }
    return { epoch: this.epoch, seq: this.seq, older: this.older || start > 0, entries: this.entries.slice(start) };
  }

  /** Take up a snapshot; whether it was one. */
  restore(saved) {
    const sound = saved && typeof saved.epoch === "string" && Number.isSafeInteger(saved.seq)
      && Array.isArray(saved.entries) && saved.entries.every((entry) => Number.isSafeInteger(entry?.seq));
    if (!sound) return false;
    this.reset(saved.epoch, saved.seq);
    this.entries = saved.entries;
    this.older = saved.older === true;
    this.newest = saved.entries.findLast(({ kind }) => kind !== "event")?.seq ?? 0;
    return true;
  }

  /** Messages between two others; those past the position are left to live delivery, which is to bring them once. */
  #fresh(messages, after, before, asOf) {
    const limit = Math.min(before - 1, this.seq ?? Infinity);
    const fresh = messages.filter(({ op, seq }) => op === "message" && seq > after && seq <= limit);
    return fresh.map((message) => this.#asNow({ ...message, asOf }));
  }

  #asNow(message) {
    const later = this.changes.filter(({ target }) => target === message.seq);
    return later.reduce((before, event) => changed(before, event, this.isMine), message);
  }

  #add(entry, following) {
    this.newest = entry.seq;
    if (!this.attached) return;
    if (!following && this.entries.length >= CEILING) {
      this.attached = false;
      return;
    }
    this.entries.push(entry);
    if (following) this.trim();
  }

  #trim(length) {
    if (this.entries.length <= length) return;
    this.entries.splice(0, this.entries.length - length);
    this.older = true;
  }
}
