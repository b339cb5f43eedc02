// What later events make of a message: edited, deleted, reacted to.
//
// Owns that one table. Pure: a message goes in and another (or the same) comes out, so that a row whose message did
// not change stays the same object. A page of history counts up to its `as_of`; such a message carries it as `asOf`,
// and events up to there are in it already.

const NAMED = 10; // users that a reaction names; the rest is a number

const CHANGES = {
  edited: (message, event) => ({
    ...message, text: event.text, mentions: event.mentions, mentions_all: event.mentions_all, edited_at: event.at,
  }),
  deleted: (message) => ({
    ...message, text: "", deleted: true, mentions: undefined, mentions_all: undefined, files: undefined, reactions: undefined,
  }),
  reacted: (message, event, isMine) => withReaction(message, event, (one) => {
    if (one.users.includes(event.user.id)) return one;
    const users = one.users.length < NAMED ? [...one.users, event.user.id] : one.users;
    return { ...one, count: one.count + 1, users, me: one.me || isMine(event.user) };
  }),
  unreacted: (message, event, isMine) => withReaction(message, event, (one) => ({
    ...one,
    count: one.count - 1,
    users: one.users.filter((id) => id !== event.user.id),
    me: isMine(event.user) ? false : one.me,
  })),
};

function withReaction(message, { emoji }, change) {
  const before = message.reactions ?? [];
  const isKnown = before.some((one) => one.emoji === emoji);
  const all = isKnown ? before : [...before, { emoji, count: 0, users: [] }];
  const reactions = all.map((one) => (one.emoji === emoji ? change(one) : one)).filter(({ count }) => count > 0);
  return { ...message, reactions };
}

export const isChange = ({ op, target }) => Object.hasOwn(CHANGES, op) && Number.isSafeInteger(target);

/** `message` as it is after `event`. */
export function changed(message, event, isMine) {
  if (message.deleted || event.seq <= (message.asOf ?? 0)) return message;
  return CHANGES[event.op](message, event, isMine);
}
