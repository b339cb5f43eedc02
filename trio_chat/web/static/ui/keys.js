// The keyboard: what core/shortcuts.js says, done.

import { shortcut } from "../core/shortcuts.js";
import { edit, reply, step } from "../doings.js";
import { isMine, now, state } from "../store.js";
import { nextTick } from "../vue.js";
import { toggleSide } from "./side.js";
import { confirmDelete, mayDelete, pickReaction } from "./toolbar.js";

const isField = (element) => element.matches?.("input, textarea, select, [contenteditable]") ?? false;

async function findRoom() {
  if (state.isNarrow) state.drawer = "rooms";
  await nextTick();
  document.getElementById("filter")?.focus();
}

/** For the page as a whole. `toLatest` brings the newest message into sight. */
export function onPageKey(event, toLatest) {
  if (state.screen !== "chat" || state.dialog || event.isComposing || event.defaultPrevented) return;
  const where = isField(event.target) ? ["anywhere"] : ["anywhere", "outside"];
  const run = {
    help: () => (state.dialog = { kind: "help" }),
    helpToo: () => (state.dialog = { kind: "help" }),
    findRoom,
    search: () => toggleSide("search"),
    previousRoom: () => step(-1),
    nextRoom: () => step(1),
    nextUnread: () => step(1, { unread: true }),
    write: () => document.getElementById("write")?.focus(),
    latest: () => (toLatest(), document.getElementById("write")?.focus()),
  }[shortcut(event, where)];
  if (!run) return;
  event.preventDefault();
  run();
}

const messages = (log) => [...log.querySelectorAll(".message")];

function moveTo(element) {
  element?.focus({ preventScroll: true });
  element?.scrollIntoView({ block: "nearest" });
}

/** For the log: choosing a message and acting on it. */
export function onLogKey(event) {
  if (isField(event.target) || event.target.closest(".toolbar, .reactions") && event.key !== "Escape") return;
  const log = event.currentTarget;
  const here = event.target.closest(".message");
  const all = messages(log);
  const name = shortcut(event, ["message"]);
  const message = here && now.room.timeline.find(Number(here.dataset.seq));
  const index = all.indexOf(here);
  const run = {
    messageUp: () => moveTo(here ? all[Math.max(0, index - 1)] : all.at(-1)),
    messageDown: () => here && moveTo(all[Math.min(all.length - 1, index + 1)]),
    reply: () => message && reply(message),
    edit: () => message && isMine(message.user) && edit(message),
    react: () => message && pickReaction(here.getBoundingClientRect(), message),
    remove: () => message && mayDelete(isMine(message.user)) && confirmDelete(message),
  }[name];
  if (!run) return;
  event.preventDefault();
  event.stopPropagation();
  run();
}
