// Completion of what is being written: @names and :emoji:.
//
// Owns what is being completed at the caret and in which order proposals come. Pure.

import { EMOJI } from "./emoji.js";

const MAX = 8; // proposals shown
const QUERY = /(?:^|[\s([{"'“‘（「，。、])([@:])([^\s@:]{0,32})$/u;
const MIN_EMOJI = 2; // letters after ":" before anything is proposed: ":" is also just a colon

/** What stands before the caret: `{sign, query, start}`, or null. */
export function queryAt(text, caret) {
  const match = QUERY.exec(text.slice(Math.max(0, caret - 40), caret));
  if (!match) return null;
  const [, sign, query] = match;
  if (sign === ":" && query.length < MIN_EMOJI) return null;
  return { sign, query, start: caret - query.length - 1 };
}

const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

/** Proposals `{key, label, insert, user?, emoji?}` for a query. `users` come in the order of preference. */
export function proposals({ sign, query }, users, everybody = null) {
  const wanted = plain(query);
  if (sign === ":") {
    const found = EMOJI.filter(([, words]) => words.split(" ").some((word) => word.startsWith(wanted)));
    return found.slice(0, MAX).map(([emoji, words]) => ({ key: emoji, label: words.split(" ")[0], insert: `${emoji} `, emoji }));
  }
  const isAt = (place) => ({ name }) => (place === 0) === plain(name).startsWith(wanted) && plain(name).includes(wanted);
  const found = [...users.filter(isAt(0)), ...users.filter(isAt(1))].slice(0, MAX);
  const people = found.map((user) => ({ key: user.id, label: user.name, insert: `@${user.name} `, user }));
  if (everybody && plain(everybody).startsWith(wanted)) people.push({ key: "*", label: everybody, insert: `@${everybody} ` });
  return people.slice(0, MAX);
}

/** The text with a proposal put in: `{text, caret}`. */
export function complete(text, caret, { start }, { insert }) {
  return { text: text.slice(0, start) + insert + text.slice(caret).replace(/^ /, ""), caret: start + insert.length };
}
