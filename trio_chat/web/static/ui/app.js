// The page: which screen, and how its parts lie.

import { texts } from "../preferences.js";
import { dismiss, state, unreadCount } from "../store.js";
import { h, ref, watchEffect } from "../vue.js";
import { Composer } from "./composer.js";
import { RoomDialog } from "./dialog.js";
import { ConnectionBanner, Header } from "./header.js";
import { icon } from "./icons.js";
import { Log } from "./log.js";
import { People } from "./people.js";
import { StartScreen } from "./start.js";

function notices(t) {
  return h("div", { class: "notices", role: "status", "aria-live": "polite" }, state.notices.map(({ key, text }) => (
    h("div", { class: "notice", key }, [
      h("span", { dir: "auto" }, text),
      h("button", {
        type: "button", class: "icon-button", "aria-label": t.close, onClick: () => dismiss(key),
      }, icon("close")),
    ])
  )));
}

function nameWindow() {
  const t = texts.value;
  const { view } = state;
  const unread = view ? unreadCount() : 0;
  const room = view ? `#${view.room} · ` : "";
  document.title = `${unread ? `(${unread}) ` : ""}${room}${t.title}`;
}

export const App = {
  setup() {
    const log = ref(null);
    watchEffect(nameWindow);
    return () => {
      const t = texts.value;
      if (state.screen === "start" || !state.view) return [h(StartScreen), notices(t)];
      return [
        h("a", { class: "skip", href: "#write", onClick: focusComposer }, t.skip),
        h("div", { class: ["chat", { wide: state.panel }] }, [
          h(Header),
          h("main", { class: "room", key: state.view.room }, [
            h(ConnectionBanner),
            h(Log, { ref: log }),
            h(Composer, { onSent: () => log.value.toLatest() }),
          ]),
          h(People),
        ]),
        state.dialog ? h(RoomDialog) : null,
        notices(t),
        h("div", { class: "unseen", "aria-live": "polite", dir: "auto" }, state.announced),
      ];
    };
  },
};

function focusComposer(event) {
  event.preventDefault(); // the fragment of the address names the room
  document.getElementById("write")?.focus();
}
