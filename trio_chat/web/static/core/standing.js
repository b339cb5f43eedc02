// What I am and may in one room, as far as the server says it: kind, roles, mutes, slow mode, archive.
//
// Owns the fold over `joined` and the control events. The page only shows and hides by it; who really may do what is
// decided by the server (trio_chat/chat/access.py), so a wrong guess here costs a button, not a right.

export const RANKS = ["none", "member", "moderator", "owner", "admin"];
const rank = (role) => Math.max(0, RANKS.indexOf(role));

export class Standing {
  /** @param link the Chat: who is me */
  constructor(link) {
    this.link = link;
    this.reset({});
  }

  /** As `joined` says. */
  reset({ kind = "public", role = "member", slow_seconds: slow = 0, archived = false, muted_until: until = 0 }) {
    Object.assign(this, { kind, role, slow, archived, mutedUntil: until ?? 0 });
    this.roles = {};
    this.isOwned = rank(role) > rank("member"); // nobody has a role in a room that was never created
  }

  setRoles(roles = {}) {
    this.roles = { ...roles };
    if (Object.keys(this.roles).length > 0) this.isOwned = true;
  }

  roleOf(user) {
    if (this.link.isMine(user)) return this.role;
    return this.roles[user.id] ?? "member";
  }

  event(event) {
    const isMe = event.target?.id !== undefined && this.link.isMine(event.target);
    if (event.op === "settings") this.#settings(event);
    else if (event.op === "created") this.#created(event);
    else if (event.op === "member" && event.target) this.#member(event, isMe);
    else if (event.op === "muted" && isMe) this.mutedUntil = event.until ?? Infinity;
    else if (event.op === "unmuted" && isMe) this.mutedUntil = 0;
  }

  #settings({ slow_seconds: slow = this.slow, archived = this.archived, private: isPrivate }) {
    Object.assign(this, { slow, archived });
    if (isPrivate !== undefined) this.kind = isPrivate ? "private" : "public";
  }

  #created({ kind, user }) {
    this.kind = kind;
    if (kind === "direct") return;
    this.isOwned = true;
    if (this.link.isMine(user)) this.role = this.role === "admin" ? "admin" : "owner";
    else this.roles[user.id] = "owner";
  }

  #member({ target, role }, isMe) {
    if (isMe && this.role !== "admin") this.role = role === "banned" ? "none" : role;
    if (rank(role) > rank("member")) this.roles[target.id] = role;
    else delete this.roles[target.id];
  }

  isMuted(now) {
    return this.mutedUntil > now;
  }

  /** Whether the page offers this. `other`: whom it would be done to. */
  may(what, other = null) {
    const mine = rank(this.role);
    const isDirect = this.kind === "direct";
    if (other && (this.link.isMine(other) || mine <= rank(this.roleOf(other)))) return false;
    switch (what) {
      case "write": return mine >= rank("member") && !this.archived;
      case "deleteOthers": return !isDirect && mine >= rank("moderator");
      case "topic": return !this.archived && (isDirect || !this.isOwned || mine >= rank("moderator"));
      case "moderate": return !isDirect && mine >= rank("moderator");
      case "roles": return !isDirect && mine >= rank("owner");
      case "slow": return !isDirect && mine >= rank("moderator");
      case "settings": return !isDirect && mine >= rank("owner");
      case "invite": return !isDirect && (this.kind === "public" || mine >= rank("moderator"));
      default: throw new Error(`no such right: ${what}`);
    }
  }
}
