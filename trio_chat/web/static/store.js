// The state that the page shows, and everything that can be done on it.
//
// Owns which screen is up, the one Chat behind it, notices, what is unread, and saving. Turns the core's "something
// changed" into at most one new picture (`view`) per frame of the screen. Refuses to know how any of it looks.

import { readAddress, roomLink, socketAddress } from "./core/address.js";
import { Chat, isGuest } from "./core/chat.js";
import { Rows, localDay } from "./core/rows.js";
import { messageText } from "./core/text.js";
import { clock, newId, opener } from "./browser.js";
import { format, texts } from "./preferences.js";
import { ofPerson, ofTab } from "./storage.js";
import { shallowReactive } from "./vue.js";

const NOTICE_SECONDS = 7;
const SAVE_SECONDS = 1; // after a change; also saved when the page goes out of sight
const HIDDEN_SECONDS = 0.5; // between pictures while nobody can see them

export const state = shallowReactive({
  screen: "start", // or "chat"
  start: { name: "", room: "", error: "", wrong: [] }, // `wrong`: which fields have something to be explained
  view: null,
  notices: [],
  isNarrow: false, // people are in a drawer, not beside the log
  panel: false, // that drawer is open; or, on a wide screen, they are put away
  dialog: false, // the room's dialog
  announced: "", // for screen readers
});

let chat = null;
let rows = null;
let drawing = null;
let saving = null;
let unread = null; // the seq that had been seen when the page went out of sight
let heard = null; // the seq up to which messages were announced
let wantedName = "";
let givenName = ""; // what the server made of it

// --- what is shown ---

function changed() {
  saving ??= clock.after(SAVE_SECONDS, save);
  if (drawing) return;
  if (document.hidden) {
    drawing = clock.after(HIDDEN_SECONDS, draw);
  } else {
    const request = requestAnimationFrame(draw);
    drawing = () => cancelAnimationFrame(request);
  }
}

function draw() {
  drawing?.();
  drawing = null;
  if (!chat) return;
  const { timeline, people, outgoing } = chat;
  const isLoaded = timeline.seq !== null;
  state.view = {
    room: chat.room,
    user: chat.user,
    isNameFixed: chat.user !== null && !isGuest(chat.user),
    topic: chat.topic,
    status: chat.connection.status,
    rows: rows.build({ entries: timeline.entries, items: outgoing.items, older: timeline.older, isLoaded, unread }),
    isEmpty: isLoaded && !timeline.older && timeline.entries.length === 0 && outgoing.items.length === 0,
    isLoaded,
    isLagging: chat.isLagging,
    older: timeline.older,
    attached: timeline.attached,
    paging: chat.paging,
    newest: timeline.newest,
    members: sorted([...people.members.values()]),
    count: people.count,
    typists: [...people.typists.values()].map(({ user }) => user.name),
    limits: chat.limits,
  };
  announce();
}

function sorted(members) {
  const order = new Intl.Collator(format.value.tag, { numeric: true });
  const place = (user) => (chat.isMine(user) ? 0 : 1);
  return members.sort((one, other) => place(one) - place(other) || order.compare(one.name, other.name));
}

/** Put new messages of others into words for those who listen; a burst only as a number. */
function announce() {
  const { newest, seq } = chat.timeline;
  if (seq === null || !chat.outgoing.isOpen) return; // still catching up
  const before = heard ?? newest;
  heard = newest;
  if (newest <= before) return;
  const fresh = othersAfter(before);
  if (fresh.length > 3) state.announced = texts.value.newMessages(fresh.length);
  else if (fresh.length > 0) {
    state.announced = fresh.map(({ user, text }) => texts.value.announce(user.name, text.slice(0, 400))).join("\n");
  }
}

export const isMine = (user) => chat?.isMine(user) ?? false;

function othersAfter(seq) {
  const { entries } = chat.timeline;
  return entries.filter((entry) => entry.seq > seq && entry.op === "message" && !chat.isMine(entry.user));
}

/** How many of others' messages at hand came after `seq`. */
export function countAfter(seq) {
  if (!chat) return 0;
  return othersAfter(seq).length;
}

export function unreadCount() {
  return document.hidden && unread !== null ? countAfter(unread) : 0;
}

// --- coming and going ---

/** Begin with what the address says and what is remembered. */
export function begin() {
  const address = readAddress(location.href);
  const { wrongName, wrongRoom } = address;
  const name = wrongName ?? address.name ?? ofTab.get("name") ?? ofPerson.get("name") ?? "";
  const wrong = [wrongName !== null && "name", wrongRoom !== null && "room"].filter(Boolean);
  if (name && wrong.length === 0) enter(name, address.room);
  else askForName(name, wrongRoom ?? address.room, { wrong });
}

export function enter(name, room) {
  leave();
  givenName = name;
  want(name);
  rows = new Rows({ isMine, dayOf: localDay });
  chat = new Chat({
    room,
    name,
    open: opener(socketAddress(document.baseURI)),
    clock,
    newId,
    saved: {
      session: ofTab.get("session"),
      room: ofTab.get(`room:${room}`),
      outgoing: ofTab.get(`outgoing:${room}`),
    },
    on: { changed, outgoing: (items) => ofTab.set(`outgoing:${room}`, items), notice, refused, welcome },
  });
  history.replaceState(null, "", roomLink(location.href, room));
  Object.assign(state, { screen: "chat", panel: false, dialog: false });
  draw();
  chat.start();
}

/** Leave the room, keeping what a return needs. */
function leave() {
  save();
  chat?.stop();
  drawing?.();
  chat = rows = drawing = unread = heard = null;
  state.view = null;
}

export function askForName(name = wantedName, room = chat?.room ?? "", { error = "", wrong = [] } = {}) {
  leave();
  Object.assign(state, { screen: "start", start: { name, room, error, wrong }, panel: false, dialog: false });
}

function want(name) {
  wantedName = name;
  ofPerson.set("name", name);
  ofTab.set("name", name);
}

function welcome(user) {
  const isNews = user.name !== wantedName && user.name !== givenName;
  const { nameTaken, signedInAs } = texts.value;
  if (isNews) notify(isGuest(user) ? nameTaken(wantedName, user.name) : signedInAs(user.name));
  if (!isGuest(user)) want(user.name);
  givenName = user.name;
  save();
}

function refused({ message }) {
  askForName(wantedName, chat.room, { error: message });
}

function save() {
  saving?.();
  saving = null;
  if (!chat) return;
  const { session, room } = chat.snapshot();
  ofTab.set("session", session);
  ofTab.set(`room:${chat.room}`, room);
}

// --- notices ---

function notice({ code, message }) {
  notify(texts.value.errors[code] ?? message);
}

export function notify(text) {
  const one = { key: newId(), text };
  state.notices = [...state.notices.slice(-2), one];
  clock.after(NOTICE_SECONDS, () => dismiss(one.key));
}

export function dismiss(key) {
  state.notices = state.notices.filter((found) => found.key !== key);
}

// --- doing ---

/** Send what was written; whether it was taken. */
export function say(written) {
  const text = messageText(written);
  if (!text || chat.isTooLong(text)) return false;
  if (chat.outgoing.isFull) {
    notify(texts.value.queueFull);
    return false;
  }
  unread = null;
  chat.say(text);
  return true;
}

export const isTooLong = (text) => chat?.isTooLong(messageText(text)) ?? false;
export const typing = () => chat?.typing();
export const retry = (id) => chat?.outgoing.retry(id);
export const remove = (id) => chat?.outgoing.remove(id);
export const isRemovable = (item) => chat?.outgoing.removable(item) ?? false;
export const follow = (following) => chat?.follow(following);
export const loadOlder = () => chat?.loadOlder();
export const loadNewer = () => chat?.loadNewer();
export const loadLatest = () => chat?.loadLatest();
export const reconnect = () => chat?.connection.retryNow();
export const linkToRoom = () => roomLink(location.href, chat.room);
export const draft = {
  get: () => ofTab.get(`draft:${chat?.room}`) ?? "",
  set: (text) => ofTab.set(`draft:${chat?.room}`, text || null),
};

/** Listen to what the browser says about the network, the page and its address. */
export function listen() {
  addEventListener("online", () => chat?.connection.networkChanged(true));
  addEventListener("offline", () => chat?.connection.networkChanged(false));
  addEventListener("pagehide", save);
  addEventListener("pageshow", () => chat?.connection.probe());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      save();
      unread = chat?.timeline.newest ?? null;
    } else {
      chat?.connection.probe();
      draw();
    }
  });
  addEventListener("hashchange", () => {
    const { room } = readAddress(location.href);
    if (!chat || room === chat.room) return;
    if (room !== null) enter(wantedName, room);
    else {
      notify(texts.value.badRoom);
      history.replaceState(null, "", linkToRoom());
    }
  });
}
