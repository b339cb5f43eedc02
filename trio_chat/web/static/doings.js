// Everything that a person can do on the page.
//
// Owns the way from an intention to the core: checks that can be made here, and words for what the server refuses.
// Holds no state of its own; that is store.js's.

import { fragmentOf, invitationLink, roomLink } from "./core/address.js";
import { neighbour } from "./core/roomlist.js";
import { messageText } from "./core/text.js";
import { texts } from "./preferences.js";
import { changed, dropLine, go, isMine, notify, now, shut, state, write } from "./store.js";
import { ofTab } from "./storage.js";

/** Ask the server; what it refuses is said, and the answer is then null. */
export async function ask(frame) {
  try {
    return await now.chat.ask(frame);
  } catch (error) {
    const t = texts.value;
    notify(now.chat?.lacks(frame.op) ? t.notHere : (t.errors[error.code] ?? error.message));
    changed();
    return null;
  }
}

const here = (frame) => ask({ room: now.room.name, ...frame });

// --- messages ---

/** Send what was written; whether it was taken. */
export function say(written) {
  const text = messageText(written);
  const { reply, editing, files } = state.writing;
  if (editing) return finishEdit(text);
  const uploaded = files.filter((file) => file.hash);
  if ((!text && uploaded.length === 0) || isTooLong(text)) return false;
  if (files.length > uploaded.length) {
    notify(texts.value.stillUploading);
    return false;
  }
  if (now.room.outgoing.isFull) {
    notify(texts.value.queueFull);
    return false;
  }
  dropLine();
  const more = {};
  if (reply) more.reply_to = reply.seq;
  if (uploaded.length > 0) more.files = uploaded.map(({ hash }) => hash);
  now.room.say(text || uploaded.map(({ name }) => name).join(", "), more);
  write({ reply: null, files: [] });
  return true;
}

function finishEdit(text) {
  const { editing } = state.writing;
  if (isTooLong(text)) return false;
  if (!text) remove(editing);
  else if (text !== editing.text) here({ op: "edit", seq: editing.seq, text });
  write({ editing: null });
  return true;
}

/** Take up the last message of mine for editing; whether there is one. */
export function editLast() {
  const mine = now.room.timeline.entries.findLast((entry) => entry.op === "message" && !entry.deleted && isMine(entry.user));
  if (!mine || now.chat.lacks("edit")) return false;
  write({ editing: mine, reply: null });
  return true;
}

export const reply = (message) => write({ reply: message, editing: null });
export const edit = (message) => write({ editing: message, reply: null });
export const remove = (message) => here({ op: "delete", seq: message.seq });

/** React, or take the reaction back. */
export function react(message, emoji) {
  const isMineToo = message.reactions?.some((one) => one.emoji === emoji && one.me);
  return here({ op: isMineToo ? "unreact" : "react", seq: message.seq, emoji });
}

export const isTooLong = (text) => now.chat?.isTooLong(messageText(text), now.room.name) ?? false;
export const typing = () => now.room?.typing();
export const retry = (id) => now.room?.outgoing.retry(id);
export const withdraw = (id) => now.room?.outgoing.remove(id);
export const isRemovable = (item) => now.room?.outgoing.removable(item) ?? false;
export const quoted = (seq) => now.room?.quoted(seq);
export const loadOlder = () => now.room?.loadOlder();
export const loadNewer = () => now.room?.loadNewer();
export const loadLatest = () => now.room?.loadLatest();
export const reconnect = () => now.chat?.connection.retryNow();
export const linkToRoom = () => roomLink(location.href, now.room.name);
export const linkToMessage = ({ seq }) => new URL(fragmentOf(now.room.name, seq), roomLink(location.href, now.room.name)).href;
export const draft = {
  get: () => ofTab.get(`draft:${now.room?.name}`) ?? "",
  set: (text) => ofTab.set(`draft:${now.room?.name}`, text || null),
};

// --- rooms ---

/** Make a room and go there; the error's words, or null. */
export async function create({ room, kind, topic }) {
  try {
    await now.chat.ask({ op: "create", room, kind, ...(topic ? { topic } : {}) });
  } catch (error) {
    if (!now.chat.lacks("create")) return texts.value.errors[error.code] ?? error.message;
    if (kind === "private") return texts.value.notHere;
  }
  go(room);
  return null;
}

/** Talk with one person alone. */
export async function direct(user) {
  const answer = await ask({ op: "direct", user: user.id });
  if (!answer) return;
  const { chat } = now;
  if (!chat.list.some(({ room }) => room === answer.room)) {
    chat.list = [...chat.list, { room: answer.room, kind: "direct", with: answer.with, count: 0 }];
  }
  go(answer.room);
}

/** A link into this private room, or null. */
export async function invitation() {
  const answer = await here({ op: "invite", link: true });
  return answer && invitationLink(location.href, answer.room, answer.token);
}

export const setTopic = (text) => here({ op: "topic", text });
export const leaveRoom = (name, options) => shut(name, options);

export function step(by, options) {
  const name = neighbour(state.sidebar, now.room.name, by, options);
  if (name !== null) go(name);
}

// --- moderation ---

export const setRole = (user, role) => here({ op: "role", user: user.id, role });
export const kick = (user) => here({ op: "kick", user: user.id });
export const ban = (user, seconds) => here({ op: "ban", user: user.id, ...(seconds ? { seconds } : {}) });
export const unban = (user) => here({ op: "unban", user: user.id });
export const mute = (user, seconds) => here({ op: "mute", user: user.id, ...(seconds ? { seconds } : {}) });
export const unmute = (user) => here({ op: "unmute", user: user.id });
export const settings = (change) => here({ op: "settings", ...change });

/** Ask to be let in to a private room. */
export async function askIn(text) {
  const answer = await here({ op: "ask", ...(text ? { text } : {}) });
  if (answer) notify(texts.value.asked);
}
