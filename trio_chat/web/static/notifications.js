// Notifications of the system, for messages that concern me while I look elsewhere; and telling others that I do.
//
// Permission is asked for only when a person switches them on. Owns that switch and when I count as away.

import { clock } from "./browser.js";
import { texts } from "./preferences.js";
import { go, listenTo, now } from "./store.js";
import { ofPerson } from "./storage.js";
import { ref } from "./vue.js";

const AWAY_HIDDEN = 60; // seconds out of sight that make me away
const AWAY_IDLE = 300; // and seconds without a key or a move
const LENGTH = 200; // characters of a message that are shown

export const isPossible = typeof Notification !== "undefined";
export const isOn = ref(isPossible && ofPerson.get("notify") === true && Notification.permission === "granted");
export const isDenied = ref(isPossible && Notification.permission === "denied");

/** Switch them on or off; on asks the browser's permission. */
export async function choose(wanted) {
  const permission = wanted ? await Notification.requestPermission() : null;
  isOn.value = wanted && permission === "granted";
  isDenied.value = Notification.permission === "denied";
  ofPerson.set("notify", isOn.value || null);
}

function show(room, { user, text, seq }) {
  const isDirect = room.standing.kind === "direct";
  const title = isDirect ? user.name : texts.value.inRoom(user.name, room.name);
  const one = new Notification(title, { body: text.slice(0, LENGTH), tag: `${room.name}/${seq}` });
  one.onclick = () => {
    focus();
    go(room.name, { seq });
    one.close();
  };
}

function heard(room, event) {
  const isWatched = !document.hidden && now.room === room;
  const concernsMe = now.chat.isForMe(event) || room.standing.kind === "direct";
  if (isOn.value && !isWatched && concernsMe && !now.chat.isMine(event.user)) show(room, event);
}

/** Begin to listen. */
export function watchAttention() {
  listenTo("message", heard);
  let cancel = null;
  const wait = () => {
    cancel?.();
    cancel = clock.after(document.hidden ? AWAY_HIDDEN : AWAY_IDLE, () => now.chat?.setAway(true));
  };
  const back = () => {
    if (!document.hidden) now.chat?.setAway(false);
    wait();
  };
  for (const kind of ["keydown", "pointerdown", "visibilitychange", "focus"]) addEventListener(kind, back, { capture: true, passive: true });
  wait();
}
