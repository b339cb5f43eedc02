// From what is known to what is shown: one list of rows, in the order of the screen.
//
// Owns grouping (who speaks again soon after is not named again), the days between messages, and the identity of
// rows: a row whose picture is the same is the same object, so that a new message costs one row, not five hundred.
// Refuses to know how a row looks and in which language.

export const GROUP_SECONDS = 300; // a later message begins a new group

export class Rows {
  /** @param isMine `(user) => boolean`; @param dayOf `(seconds) => string`: the local day, as a key */
  constructor({ isMine, dayOf }) {
    Object.assign(this, { isMine, dayOf });
    this.cache = new Map();
  }

  /** The rows for these entries and unsent items; `unread` is the seq after which a line is drawn. */
  build({ entries, items, older, isLoaded, unread = null }) {
    const previous = this.cache;
    this.cache = new Map();
    this.previousRows = previous;
    const rows = [];
    if (isLoaded && !older) rows.push(this.#row({ kind: "beginning", key: "beginning" }));
    let last = null;
    let lineDrawn = unread === null;
    for (const entry of entries) {
      if (!lineDrawn && entry.seq > unread && entry.op === "message" && !this.isMine(entry.user)) {
        rows.push(this.#row({ kind: "unread", key: "unread" }));
        lineDrawn = true;
        last = last && { ...last, closed: true };
      }
      last = this.#entry(rows, entry, last);
    }
    for (const item of items) last = this.#item(rows, item, last);
    return this.#closeGroups(rows);
  }

  #entry(rows, entry, last) {
    if (entry.kind) {
      const { kind, seq, from, to, event } = entry;
      rows.push({ kind, key: `${kind}-${seq}`, from, to, event });
      return null;
    }
    const mine = this.isMine(entry.user);
    const person = mine ? "me" : `${entry.user.id} ${entry.user.name}`;
    const key = mine && entry.id ? `i-${entry.id}` : `s-${entry.seq}`;
    return this.#speech(rows, last, { key, person, at: entry.at, mine, message: entry });
  }

  #item(rows, item, last) {
    const at = item.state === "stored" ? item.at : Math.max(item.at, last?.at ?? 0);
    return this.#speech(rows, last, { key: `i-${item.id}`, person: "me", at, mine: true, message: item });
  }

  #speech(rows, last, { key, person, at, mine, message }) {
    const day = this.dayOf(at);
    if (day !== last?.day) rows.push({ kind: "day", key: `day-${day}-${key}`, at });
    const grouped = last !== null && !last.closed && last.day === day && last.person === person
      && at - last.at < GROUP_SECONDS && (message.reply_to ?? message.more?.reply_to) === undefined;
    rows.push({ kind: message.op === "message" ? "message" : "unsent", key, message, mine, opens: !grouped });
    return { day, person, at };
  }

  /** A row closes its group if the next one does not go on with it. */
  #closeGroups(rows) {
    return rows.map((row, index) => {
      if (!row.message) return this.#row(row);
      const next = rows[index + 1];
      return this.#row({ ...row, closes: !next?.message || next.opens });
    });
  }

  #row(row) {
    const before = this.previousRows.get(row.key);
    const same = before && Object.keys(row).every((name) => row[name] === before[name])
      && Object.keys(before).length === Object.keys(row).length;
    const kept = same ? before : Object.freeze(row);
    this.cache.set(row.key, kept);
    return kept;
  }
}

/** A function for `dayOf`: days as the viewer's clock has them. */
export function localDay(seconds) {
  const date = new Date(seconds * 1000);
  return `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}`;
}
