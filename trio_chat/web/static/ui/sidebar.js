// The rooms: mine, direct ones, and what else there is; a column beside the log, or a drawer where there is no space.

import { fragmentOf } from "../core/address.js";
import { leaveRoom } from "../doings.js";
import { texts } from "../preferences.js";
import { go, state } from "../store.js";
import { h, ref } from "../vue.js";
import { drawer } from "./drawer.js";
import { icon, mark } from "./icons.js";
import { avatar, badge, iconButton, personName } from "./parts.js";

const SIGNS = { public: "hash", private: "lock" };

function sign(room) {
  if (room.kind === "direct") return avatar(room.with ?? { id: room.name, name: room.title }, "tiny");
  return icon(SIGNS[room.kind]);
}

export const Sidebar = {
  setup() {
    const filter = ref("");
    const field = ref(null);
    const box = drawer("rooms");

    const line = (room, t) => {
      const isHere = room.name === state.view.room;
      const isLeavable = room.isOpen && state.sidebar.mine.length + state.sidebar.direct.length > 1;
      return h("li", { key: room.name, class: ["room-line", { here: isHere, fresh: room.unread > 0, refused: room.isRefused, idle: !room.isOpen }] }, [
        h("a", {
          href: fragmentOf(room.name), "aria-current": isHere ? "page" : undefined, title: room.topic || undefined,
          onClick: (event) => {
            if (event.ctrlKey || event.metaKey || event.shiftKey) return;
            event.preventDefault();
            go(room.name);
          },
        }, [sign(room), h("bdi", { class: "room-name" }, room.title), badge(room, t)]),
        isLeavable ? iconButton("close", t.leave(room.title), () => leaveRoom(room.name), { class: "icon-button room-close" }) : null,
      ]);
    };

    function group(title, rooms, t, extra = null) {
      if (rooms.length === 0 && !extra) return null;
      return h("section", { class: "room-group", "aria-label": title }, [
        h("div", { class: "room-group-head" }, [h("h2", title), extra]),
        h("ul", rooms.map((room) => line(room, t))),
      ]);
    }

    function onKeydown(event) {
      if (event.key === "Enter" && !event.isComposing) {
        document.querySelector("#rooms .room-line a")?.click();
        filter.value = "";
      } else if (event.key === "Escape" && filter.value) {
        event.stopPropagation();
        filter.value = "";
      }
    }

    return () => {
      const t = texts.value;
      const wanted = filter.value.trim().toLowerCase();
      const fits = (rooms) => (wanted ? rooms.filter(({ title }) => title.toLowerCase().includes(wanted)) : rooms);
      const { mine, direct, others } = state.sidebar;
      const add = iconButton("plus", t.newRoom, () => (state.dialog = { kind: "new" }), { "aria-haspopup": "dialog" });
      const { user } = state.view;
      return box(t.rooms, [
        h("div", { class: "sidebar-head" }, [
          mark(),
          h("strong", t.title),
          state.isNarrow ? iconButton("close", t.close, () => (state.drawer = null), { "data-first": "1" }) : null,
        ]),
        h("div", { class: "sidebar-filter" }, [
          icon("search"),
          h("input", {
            id: "filter", ref: field, type: "text", value: filter.value, placeholder: t.findRoom, "aria-label": t.findRoom, autocomplete: "off",
            spellcheck: "false", onInput: (event) => (filter.value = event.target.value), onKeydown,
          }),
        ]),
        h("nav", { class: "room-list", "aria-label": t.rooms, tabindex: -1 }, [
          group(t.rooms, fits(mine), t, add),
          group(t.directMessages, fits(direct), t),
          group(t.otherRooms, fits(others), t),
        ]),
        h("div", { class: "self" }, [
          user ? avatar(user, "small") : null,
          user ? h("span", { class: "unseen" }, `${t.youAre} `) : null,
          user ? h("strong", personName(user.name)) : null,
          iconButton("gear", t.settings, () => (state.dialog = { kind: "settings" }), { "aria-haspopup": "dialog" }),
        ]),
      ]);
    };
  },
};
