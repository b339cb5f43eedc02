// The state that the page shows: the single owner of it.
//
// Owns which screen is up, the one Chat behind it, which of its rooms is looked at, notices, what is read, and saving.
// Turns the core's "something changed" into at most one new picture (`view`, `sidebar`) per frame of the screen. What a
// person does with it is in doings.js. Refuses to know how any of it looks.

import { fragmentOf, readAddress, roomLink, socketAddress } from "./core/address.js";
import { Chat, isGuest } from "./core/chat.js";
import { listRooms } from "./core/roomlist.js";
import { Rows, localDay } from "./core/rows.js";
import { clock, newId, opener } from "./browser.js";
import { format, texts } from "./preferences.js";
import { ofPerson, ofTab } from "./storage.js";
import { shallowReactive } from "./vue.js";

const NOTICE_SECONDS = 7;
const SAVE_SECONDS = 1; // after a change; also saved when the page goes out of sight
const HIDDEN_SECONDS = 0.5; // between pictures while nobody can see them
const MAX_REOPENED = 30; // rooms that a new visit opens by itself

export const state = shallowReactive({
  screen: "start", // or "chat"
  start: { name: "", room: "", error: "", wrong: [] }, // `wrong`: which fields have something to be explained
  view: null, // of the room that is looked at
  sidebar: { mine: [], direct: [], others: [] },
  unread: 0, // in all rooms
  notices: [],
  isNarrow: false, // rooms and people are in drawers, not beside the log
  drawer: null, // "rooms" or "side": the open one, on a narrow screen
  side: "people", // what is beside the log: "people", "search", or null
  dialog: null, // {kind, ...}
  popover: null, // {kind, rect, ...}: a menu, or the emoji
  hot: null, // the key of the message that can be acted on
  insert: null, // {text}: to be put into the composer
  announced: "", // for screen readers
  writing: null, // what the composer is about: {reply, editing, files} of the room that is looked at
  isReading: true, // at the newest message
  jump: null, // {seq, at}: the message to be brought into sight
});

/** What is behind the picture; doings.js acts on it. */
export const now = { chat: null, room: null };

let drawing = null;
let saving = null;
let wantedName = "";
let givenName = ""; // what the server made of it
let sidebarText = "";
let waitingJump = null; // {room, seq}: to be made when that room is there
const looks = new Map(); // of each open room: its rows, the unread line, what was announced, what is being written
const on = { message: [], room: [] }; // listeners: other modules may hear of messages and of another room

export const listenTo = (what, listener) => on[what].push(listener);

const newLook = () => ({
  rows: new Rows({ isMine, dayOf: localDay }),
  line: null, // the seq after which the unread line is drawn
  heard: null, // the seq up to which messages were announced
  writing: { reply: null, editing: null, files: [] },
  members: { version: -1, list: [] },
});

// --- what is shown ---

export function changed() {
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
  const { chat, room } = now;
  if (!chat || !room) return;
  if (!document.hidden) {
    room.look();
    readOn(room);
  }
  drawSidebar(chat);
  state.view = picture(chat, room, looks.get(room.name));
  if (waitingJump?.room === room && room.outgoing.isOpen) {
    const { seq } = waitingJump;
    waitingJump = null;
    jumpTo(seq);
  }
  announce(room, looks.get(room.name));
}

function picture(chat, room, look) {
  const { timeline, people, outgoing, standing } = room;
  const isLoaded = timeline.seq !== null;
  const info = [...state.sidebar.mine, ...state.sidebar.direct].find((one) => one.name === room.name);
  return {
    room: room.name,
    title: info?.title ?? room.name,
    user: chat.user,
    isNameFixed: chat.user !== null && !isGuest(chat.user),
    topic: room.topic,
    status: chat.connection.status,
    rows: look.rows.build({ entries: timeline.entries, items: outgoing.items, older: timeline.older, isLoaded, unread: look.line }),
    isEmpty: isLoaded && !timeline.older && timeline.entries.length === 0 && outgoing.items.length === 0,
    isLoaded,
    isJoined: room.isJoined,
    error: room.error,
    isLagging: room.isLagging || (chat.connection.status.state === "online" && !room.isJoined && !room.error),
    older: timeline.older,
    attached: timeline.attached,
    paging: room.paging,
    newest: timeline.newest,
    members: members(room, look),
    away: people.away,
    count: people.count,
    typists: [...people.typists.values()].map(({ user }) => user.name),
    limits: chat.limits,
    standing,
    role: standing.role,
    operations: chat.operations,
  };
}

function members({ people }, look) {
  if (look.members.version !== people.version) {
    const order = new Intl.Collator(format.value.tag, { numeric: true });
    const place = (user) => (isMine(user) ? 0 : 1);
    const list = [...people.members.values()];
    list.sort((one, other) => place(one) - place(other) || order.compare(one.name, other.name));
    look.members = { version: people.version, list };
  }
  return look.members.list;
}

function drawSidebar(chat) {
  const { compare } = new Intl.Collator(format.value.tag, { numeric: true });
  const sidebar = listRooms({ rooms: chat.rooms, list: chat.list, isMine, compare });
  const text = JSON.stringify(sidebar);
  if (text === sidebarText) return;
  sidebarText = text;
  state.sidebar = sidebar;
  state.unread = [...sidebar.mine, ...sidebar.direct].reduce((sum, { unread }) => sum + unread, 0);
}

/** Who looks at the newest messages has read them. */
function readOn(room) {
  if (state.isReading && room.timeline.attached && room.timeline.seq !== null) room.markRead(room.timeline.seq);
}

/** Put new messages of others into words for those who listen; a burst only as a number. */
function announce(room, look) {
  const { newest, seq } = room.timeline;
  if (seq === null || !room.outgoing.isOpen) return; // still catching up
  const before = look.heard ?? newest;
  look.heard = newest;
  if (newest <= before) return;
  const fresh = othersAfter(before);
  if (fresh.length > 3) state.announced = texts.value.newMessages(fresh.length);
  else if (fresh.length > 0) {
    state.announced = fresh.map(({ user, text }) => texts.value.announce(user.name, text.slice(0, 400))).join("\n");
  }
}

export const isMine = (user) => now.chat?.isMine(user) ?? false;
export const isForMe = (message) => now.chat?.isForMe(message) ?? false;

function othersAfter(seq) {
  const entries = now.room?.timeline.entries ?? [];
  let start = entries.length;
  while (start > 0 && entries[start - 1].seq > seq) start -= 1;
  return entries.slice(start).filter((entry) => entry.op === "message" && !isMine(entry.user));
}

/** How many of others' messages at hand came after `seq`. */
export const countAfter = (seq) => othersAfter(seq).length;

/** Whether the newest message is in sight. */
export function reading(isReading) {
  state.isReading = isReading;
  now.room?.follow(isReading);
  if (isReading && !document.hidden && now.room) readOn(now.room);
}

// --- coming and going ---

/** Begin with what the address says and what is remembered. */
export function begin() {
  const address = readAddress(location.href);
  const { wrongName, wrongRoom, invitation, seq } = address;
  const name = wrongName ?? address.name ?? ofTab.get("name") ?? ofPerson.get("name") ?? "";
  const room = address.isUsual ? (ofTab.get("room") ?? address.room) : address.room;
  const wrong = [wrongName !== null && "name", wrongRoom !== null && "room"].filter(Boolean);
  if (name && wrong.length === 0) enter(name, room, { invitation, seq });
  else askForName(name, wrongRoom ?? room, { wrong });
}

export function enter(name, room, { invitation = null, seq = null } = {}) {
  leave();
  givenName = name;
  want(name);
  const chat = new Chat({
    name,
    open: opener(socketAddress(document.baseURI)),
    clock,
    newId,
    saved: ofTab.get("session"),
    on: {
      changed,
      notice: ({ code, message }) => notify(texts.value.errors[code] ?? message),
      refused: ({ message }) => askForName(wantedName, now.room?.name, { error: message }),
      welcome,
      outgoing: (of, items) => ofTab.set(`outgoing:${of}`, items.length > 0 ? items : null),
      left,
      message: (...news) => on.message.forEach((listener) => listener(...news)),
      elsewhere: (frame) => on.room.forEach((listener) => listener(frame)),
      invited: ({ room: to, user }) => notify(texts.value.invitedBy(user.name, to), { room: to }),
    },
  });
  now.chat = chat;
  Object.assign(state, { screen: "chat", drawer: null, dialog: null });
  const others = reopened().filter((other) => other !== room);
  go(room, { invitation, seq, replace: true });
  for (const other of others) open(other);
  keepRooms();
  chat.start();
}

const reopened = () => {
  const names = ofTab.get("rooms") ?? ofPerson.get("rooms");
  return Array.isArray(names) ? names.filter((one) => typeof one === "string").slice(0, MAX_REOPENED) : [];
};

export function open(name, invitation = null) {
  const { chat } = now;
  if (!looks.has(name)) looks.set(name, newLook());
  const saved = { room: ofTab.get(`room:${name}`), outgoing: ofTab.get(`outgoing:${name}`) };
  return chat.open(name, { saved, invitation });
}

/** Look at this room; it is opened if it isn't. */
export function go(name, { invitation = null, seq = null, replace = false } = {}) {
  const { chat } = now;
  const room = open(name, invitation);
  const look = looks.get(name);
  if (room !== now.room) {
    now.room?.follow(true);
    if (now.room) looks.get(now.room.name).line = null;
    now.room = room;
    look.line = room.unread > 0 ? room.read : null;
    Object.assign(state, { isReading: true, announced: "", writing: look.writing });
  }
  state.drawer = null;
  ofTab.set("room", name);
  keepRooms();
  const address = new URL(roomLink(location.href, name));
  address.hash = fragmentOf(name);
  if (replace) history.replaceState(null, "", address);
  else if (address.href !== location.href) history.pushState(null, "", address);
  draw();
  if (seq !== null) jumpTo(seq);
  if (chat.isWelcome) chat.refresh();
}

function keepRooms() {
  const names = [...now.chat.rooms.keys()];
  ofTab.set("rooms", names);
  ofPerson.set("rooms", names.slice(-MAX_REOPENED));
}

/** Bring a message into sight, from however far back. */
export function jumpTo(seq) {
  const { room } = now;
  const arrive = (found) => {
    if (found && now.room === room) state.jump = { seq, at: clock.now() };
    else if (now.room === room) notify(texts.value.noSuchMessage);
    draw();
  };
  if (room.isJoined || room.timeline.find(seq)) room.loadAround(seq, arrive);
  else waitingJump = { room, seq };
}

/** Close a room; the one beside it is looked at. */
export function shut(name, { forGood = false } = {}) {
  const { chat } = now;
  const others = [...chat.rooms.keys()].filter((one) => one !== name);
  if (others.length === 0) return;
  chat.close(name, { forGood });
  looks.delete(name);
  for (const key of ["room", "outgoing"]) ofTab.set(`${key}:${name}`, null);
  if (now.room.name === name) {
    now.room = null;
    go(others.at(-1));
  }
  keepRooms();
  changed();
}

/** The server did not let me in, or put me out. */
function left(room, error) {
  const t = texts.value;
  const words = error.code === "removed" ? t.removedFrom(room.name, error.message) : (t.errors[error.code] ?? error.message);
  if (room !== now.room) notify(`#${room.name}: ${words}`);
  changed();
}

/** Leave, keeping what a return needs. */
function leave() {
  save();
  now.chat?.stop();
  drawing?.();
  Object.assign(now, { chat: null, room: null });
  drawing = null;
  sidebarText = "";
  looks.clear();
  state.view = null;
}

export function askForName(name = wantedName, room = now.room?.name ?? "", { error = "", wrong = [] } = {}) {
  leave();
  Object.assign(state, { screen: "start", start: { name, room, error, wrong }, drawer: null, dialog: null });
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

function save() {
  saving?.();
  saving = null;
  if (!now.chat) return;
  ofTab.set("session", now.chat.snapshot());
  for (const [name, room] of now.chat.rooms) ofTab.set(`room:${name}`, room.snapshot());
}

// --- notices ---

/** Say something in passing; `room` makes it a way there. */
export function notify(text, { room = null } = {}) {
  const one = { key: newId(), text, room };
  state.notices = [...state.notices.slice(-2), one];
  clock.after(NOTICE_SECONDS, () => dismiss(one.key));
}

export function dismiss(key) {
  state.notices = state.notices.filter((found) => found.key !== key);
}

// --- what the composer is about ---

/** Change `{reply, editing, files}` of the room that is looked at. */
export function write(change) {
  const look = looks.get(now.room.name);
  look.writing = { ...look.writing, ...change };
  state.writing = look.writing;
}

/** The unread line has done its service. */
export function dropLine() {
  looks.get(now.room.name).line = null;
}

/** Listen to what the browser says about the network, the page and its address. */
export function listen() {
  addEventListener("online", () => now.chat?.connection.networkChanged(true));
  addEventListener("offline", () => now.chat?.connection.networkChanged(false));
  addEventListener("pagehide", save);
  addEventListener("pageshow", () => now.chat?.connection.probe());
  document.addEventListener("visibilitychange", () => {
    if (!now.room) return;
    if (document.hidden) {
      save();
      looks.get(now.room.name).line = now.room.timeline.newest;
    } else {
      now.chat.connection.probe();
      now.chat.refresh();
      draw();
    }
  });
  addEventListener("hashchange", () => {
    const { room, invitation, seq } = readAddress(location.href);
    if (!now.chat) return;
    if (room !== null) go(room, { invitation, seq, replace: true });
    else {
      notify(texts.value.badRoom);
      history.replaceState(null, "", roomLink(location.href, now.room.name));
    }
  });
}
