// What the page's address says and what it should say: the room, a name, the server's place.
//
// Owns the form of links to a room. Only turns strings into strings; refuses to touch the browser's location.

import { roomName, userName } from "./text.js";

export const DEFAULT_ROOM = "lobby";

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const INVITATION = /^\/join\/([^?]*)(?:\?(.*))?$/; // #/join/ROOM?invitation=TOKEN
const MESSAGE = /^(.*)\/(\d{1,15})$/; // #ROOM/SEQ

/** What the fragment names: `{room, invitation, seq}`, as it stands there. */
function readFragment(fragment) {
  const invited = INVITATION.exec(fragment);
  if (invited) return { room: decoded(invited[1]), invitation: new URLSearchParams(invited[2] ?? "").get("invitation"), seq: null };
  const [, room, seq] = MESSAGE.exec(fragment) ?? [null, fragment, null];
  return { room: decoded(room), invitation: null, seq: seq && Number(seq) };
}

/**
 * `{room, name, wrongRoom, wrongName, invitation, seq}` from the page's address: the fragment before `?room=`. What is
 * not valid is null, and then the wrong one is what was asked for. Without a room it is the usual one (`isUsual`),
 * without a name null.
 */
export function readAddress(href) {
  const url = new URL(href);
  const fragment = readFragment(url.hash.slice(1));
  const { invitation, seq } = fragment;
  const askedRoom = fragment.room || url.searchParams.get("room") || "";
  const room = askedRoom ? roomName(askedRoom) : DEFAULT_ROOM;
  const askedName = url.searchParams.get("name") || null;
  const name = askedName && userName(askedName);
  const wrongRoom = room === null ? askedRoom : null;
  return { room, name, wrongRoom, wrongName: name === null ? askedName : null, invitation, seq, isUsual: !askedRoom };
}

/** The fragment that leads to a room, or to one message in it. */
export const fragmentOf = (room, seq = null) => `#${encodeURIComponent(room)}${seq === null ? "" : `/${seq}`}`;

/** A link that lets its holder into a private room. */
export function invitationLink(href, room, token) {
  const url = new URL(roomLink(href, room));
  url.hash = `/join/${encodeURIComponent(room)}?${new URLSearchParams({ invitation: token })}`;
  return url.href;
}

/** A link to `room` that anyone may be given: without a name. */
export function roomLink(href, room) {
  const url = new URL(href);
  url.searchParams.delete("name");
  url.searchParams.delete("room");
  url.hash = encodeURIComponent(room);
  return url.href;
}

const ONLY_HERE = /^(?:(?:.+\.)?localhost\.?|127(?:\.\d+){3}|0\.0\.0\.0|\[::1?\])$/;

/** The host of a page that only the computer it was opened on can reach, or `null`. */
export function hostOnlyHere(href) {
  const { hostname } = new URL(href);
  return ONLY_HERE.test(hostname) ? hostname : null;
}

/** Where the server listens for a page at `base`, behind whatever path prefix. */
export function socketAddress(base) {
  const url = new URL("ws", base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = "";
  url.hash = "";
  return url.href;
}
