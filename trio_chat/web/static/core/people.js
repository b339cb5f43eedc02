// Who is in the room, and who is typing.
//
// Owns the list of members as far as the server names them, the count of all of them, and the signs of typing with
// their end. Refuses to know about connections and messages.
//
// In a large room the server names only some and sends counts: `count` may exceed the list.

export const TYPING_SHOWN = 5; // seconds that a sign of typing lasts
export const TYPING_EVERY = 3; // seconds between the signs that are sent
export const MAX_TYPING = 20; // signs held at once
const AFTERWARDS = 1; // seconds after a message in which a sign of typing is older than it: signs travel slower

export class People {
  constructor({ clock, changed }) {
    this.clock = clock;
    this.version = 0; // of the list: another number, another list
    this.changed = () => {
      this.version += 1;
      changed();
    };
    this.members = new Map();
    this.away = new Set();
    this.count = 0;
    this.typists = new Map();
    this.spokeAt = new Map();
  }

  /** The list as the server gives it, `self` among them whether named or not. */
  reset(members, count, self, away = []) {
    this.members = new Map(members.map((user) => [user.id, user]));
    this.away = new Set(away);
    if (self) this.members.set(self.id, self);
    this.count = Math.max(count ?? 0, this.members.size);
    this.spokeAt.clear();
    this.changed();
  }

  setCount(count) {
    this.count = Math.max(count, 0);
    this.changed();
  }

  /** Somebody came, went, or looks elsewhere. */
  presence(user, online, isAway = false) {
    if (online && isAway) this.away.add(user.id);
    else this.away.delete(user.id);
    const known = this.members.has(user.id);
    const unnamed = this.count > this.members.size;
    if (online && !known) this.count += 1;
    if (!online && (known || unnamed)) this.count -= 1;
    if (online) this.members.set(user.id, user);
    else this.members.delete(user.id);
    if (!online) this.stopTyping(user.id);
    if (!online) this.spokeAt.delete(user.id);
    this.changed();
  }

  /** A member said something: they have stopped typing, and this is what they are called now. */
  spoke(user) {
    const member = this.members.get(user.id);
    if (member && member.name !== user.name) {
      this.members.set(user.id, user);
      this.version += 1;
    }
    if (member) this.spokeAt.set(user.id, this.clock.now());
    this.stopTyping(user.id);
  }

  typing(user) {
    if (!this.typists.has(user.id) && this.typists.size >= MAX_TYPING) return;
    if (this.clock.now() - (this.spokeAt.get(user.id) ?? -Infinity) < AFTERWARDS) return;
    this.typists.get(user.id)?.cancel();
    const cancel = this.clock.after(TYPING_SHOWN, () => this.stopTyping(user.id));
    this.typists.set(user.id, { user, cancel });
    this.changed();
  }

  stopTyping(id) {
    const typist = this.typists.get(id);
    if (!typist) return;
    typist.cancel();
    this.typists.delete(id);
    this.changed();
  }

  /** Nothing is known any more about who is typing. */
  silence() {
    for (const id of [...this.typists.keys()]) this.stopTyping(id);
  }
}
