// Messages that were written here and are not yet in the room's history.
//
// Owns their order, their `id`s and their fate: each is sent until it is acknowledged or refused for good, always with
// the same `id`, one at a time, so that neither a lost connection nor a busy server can double or reorder them.
// Refuses to know how they travel: it is given a `send` that may say no.
//
// States of an item: "waiting" (for a connection, its turn, or the time to try again), "sending", "stored"
// (acknowledged; goes when the room shows it), "failed" (refused; its writer decides).

export const ACK_PATIENCE = 15; // seconds; an unanswered message is then sent again, which is harmless
export const RETRY = 2; // seconds to wait when the server asks to try again and does not say when
export const MAX_ITEMS = 100; // unsent messages kept

export class Outgoing {
  /** @param send `(item) => boolean`; @param saved items of an earlier life of the page */
  constructor({ send, clock, newId, changed, saved }) {
    Object.assign(this, { send, clock, newId, changed });
    this.items = [];
    this.isOpen = false;
    this.cancel = null;
    for (const item of Array.isArray(saved) ? saved : []) this.#restore(item);
  }

  get isFull() {
    return this.items.length >= MAX_ITEMS;
  }

  /** Take a text to be sent, with `more` fields of the operation; its item. */
  add(text, more = {}) {
    const item = { id: this.newId(), text, more, at: this.clock.now(), state: "waiting", error: null, attempts: 0 };
    this.items = [...this.items, item];
    this.#next();
    this.changed();
    return item;
  }

  /** There is a room to send to. */
  open() {
    this.isOpen = true;
    this.#next();
  }

  /** The connection is gone: what was on its way is to be sent again. */
  close() {
    this.isOpen = false;
    this.cancel?.();
    this.cancel = null;
    this.#replace((item) => item.state === "sending", { state: "waiting" });
  }

  /** The server has stored `id` as `seq`. */
  acknowledged(id, seq, at) {
    if (!this.#replace((item) => item.id === id, { state: "stored", seq, at })) return false;
    this.#proceed();
    return true;
  }

  /** The room shows `id`: it is history now. Whether it was one of ours. */
  settle(id) {
    const rest = this.items.filter((item) => item.id !== id);
    if (rest.length === this.items.length) return false;
    this.items = rest;
    this.#proceed();
    return true;
  }

  /** Acknowledged ones up to `seq` are history, shown or not. */
  settleUpTo(seq) {
    this.items = this.items.filter((item) => item.state !== "stored" || item.seq > seq);
  }

  /** The server would not take `id` now (`retryAfter` in seconds) or at all (`null`). */
  refused(id, error, retryAfter) {
    const change = retryAfter === null ? { state: "failed", error } : { state: "waiting" };
    if (!this.#replace((item) => item.id === id, change)) return false;
    this.cancel?.();
    this.cancel = null;
    if (retryAfter === null) this.#next();
    else this.cancel = this.clock.after(retryAfter, () => this.#proceed());
    return true;
  }

  /** What was on its way when the connection broke is the cause: give it up. */
  refuseSent(error) {
    this.#replace((item) => item.state === "sending", { state: "failed", error });
  }

  /** Its writer wants it sent again, after the others. */
  retry(id) {
    const item = this.items.find((found) => found.id === id && found.state === "failed");
    if (!item) return;
    const others = this.items.filter((found) => found !== item);
    this.items = [...others, { ...item, state: "waiting", error: null }];
    this.#next();
    this.changed();
  }

  /** Its writer does not want it any more; only possible before it was sent or after it was refused. */
  remove(id) {
    this.items = this.items.filter((item) => item.id !== id || !this.removable(item));
    this.changed();
  }

  removable(item) {
    return item.state === "failed" || (item.state === "waiting" && item.attempts === 0);
  }

  /** What a reload needs. */
  snapshot() {
    return this.items.map(({ id, text, more, at, state, error, attempts }) => ({ id, text, more, at, state, error, attempts }));
  }

  #proceed() {
    this.cancel?.();
    this.cancel = null;
    this.#next();
  }

  #next() {
    if (!this.isOpen || this.cancel) return;
    const item = this.items.find((found) => found.state === "waiting" || found.state === "sending");
    if (!item) return;
    if (!this.send(item)) return;
    this.#replace((found) => found.id === item.id, { state: "sending", attempts: item.attempts + 1 });
    this.cancel = this.clock.after(ACK_PATIENCE, () => this.#proceed());
  }

  #replace(which, change) {
    let found = false;
    this.items = this.items.map((item) => {
      if (!which(item)) return item;
      found = true;
      return { ...item, ...change };
    });
    if (found) this.changed();
    return found;
  }

  #restore(item) {
    if (typeof item?.id !== "string" || typeof item.text !== "string" || this.isFull) return;
    const failed = item.state === "failed";
    this.items.push({
      id: item.id,
      text: item.text,
      more: typeof item.more === "object" && item.more !== null ? item.more : {},
      at: Number(item.at) || this.clock.now(),
      state: failed ? "failed" : "waiting",
      error: failed ? item.error : null,
      attempts: Number(item.attempts) || 0,
    });
  }
}
