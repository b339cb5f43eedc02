// The bar at the top: the room, its topic, who is there, whether the connection holds.

import { texts } from "../preferences.js";
import { state } from "../store.js";
import { h } from "../vue.js";
import { icon } from "./icons.js";
import { iconButton } from "./parts.js";
import { toggleSide } from "./side.js";

/** The connection's state in a word, and its colour. */
function light(status, t) {
  if (status.state === "online") return { word: t.online, tone: "good" };
  if (status.state === "stopped") return { word: t.stoppedTitle, tone: "bad" };
  if (status.offline) return { word: t.offline, tone: "bad" };
  return { word: t.connecting, tone: "busy" };
}

function sign({ kind, archived }) {
  if (archived) return icon("archive");
  if (kind === "private") return icon("lock");
  return kind === "direct" ? null : h("span", { class: "sign", "aria-hidden": "true" }, "#");
}

export const Header = {
  setup: () => () => {
    const t = texts.value;
    const { title, topic, user, count, status, standing, isJoined } = state.view;
    const { word, tone } = light(status, t);
    const isSideShown = (what) => String(state.side === what && (state.isNarrow ? state.drawer === "people" : true));
    const mayTopic = isJoined && standing.may("topic");
    return h("header", { class: "bar" }, [
      state.isNarrow ? iconButton("menu", state.unread > 0 ? `${t.rooms}, ${t.unreadCount(state.unread)}` : t.rooms, () => (
        state.drawer = state.drawer === "rooms" ? null : "rooms"
      ), { class: "icon-button rooms-button", "aria-expanded": String(state.drawer === "rooms"), "aria-controls": "rooms" },
      state.unread > 0 ? h("span", { class: "pip", "aria-hidden": "true" }) : null) : null,
      h("div", { class: "bar-title" }, [
        h("h1", { dir: "auto" }, [sign(standing), h("bdi", title)]),
        h("p", { class: "bar-line" }, [
          h("span", { class: ["light", tone], "data-state": status.state }, word),
          topic || mayTopic ? h(mayTopic ? "button" : "span", {
            class: ["topic", { blank: !topic }], title: topic || t.setTopic,
            ...(mayTopic ? { type: "button", "aria-haspopup": "dialog", onClick: () => (state.dialog = { kind: "topic" }) } : {}),
          }, h("bdi", topic || t.setTopic)) : null,
        ]),
      ]),
      iconButton("search", t.search, () => toggleSide("search"), {
        class: "icon-button search-button", "aria-expanded": isSideShown("search"), "aria-controls": "people",
      }),
      iconButton("share", t.share, () => (state.dialog = { kind: "room" }), { "aria-haspopup": "dialog" }, h("span", { class: "button-word" }, t.invite)),
      iconButton("people", user ? t.showPeople(count) : t.people, () => toggleSide("people"), {
        class: "icon-button people-button", "aria-expanded": isSideShown("people"), "aria-controls": "people",
      }, user ? h("span", { class: "button-count" }, count) : null),
    ]);
  },
};
