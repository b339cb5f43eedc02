// The page: which screen, and how its parts lie.

import { texts } from "../preferences.js";
import { dismiss, go, state } from "../store.js";
import { h, onBeforeUnmount, onMounted, ref, watchEffect } from "../vue.js";
import { Banner } from "./banner.js";
import { Composer } from "./composer.js";
import { Confirm, Help, NewRoom, Settings, Topic } from "./dialogs.js";
import { watchWidth } from "./drawer.js";
import { Header } from "./header.js";
import { onPageKey } from "./keys.js";
import { Log } from "./log.js";
import { iconButton } from "./parts.js";
import { Popover } from "./popover.js";
import { RoomDialog } from "./room-dialog.js";
import { Side } from "./side.js";
import { Sidebar } from "./sidebar.js";
import { StartScreen } from "./start.js";
import { mayUpload, upload } from "./uploads.js";

const DIALOGS = { room: RoomDialog, new: NewRoom, topic: Topic, settings: Settings, help: Help, confirm: Confirm };

function notices(t) {
  return h("div", { class: "notices", role: "status", "aria-live": "polite" }, state.notices.map(({ key, text, room }) => (
    h("div", { class: "notice", key }, [
      h("span", { dir: "auto" }, text),
      room ? h("button", { type: "button", class: "notice-go", onClick: () => (dismiss(key), go(room)) }, t.go) : null,
      iconButton("close", t.close, () => dismiss(key)),
    ])
  )));
}

function nameWindow() {
  const t = texts.value;
  const { view, unread } = state;
  const sign = view?.standing.kind === "direct" ? "" : "#";
  const room = view ? `${sign}${view.title} · ` : "";
  document.title = `${unread > 0 ? `(${unread}) ` : ""}${room}${t.title}`;
}

function focusComposer(event) {
  event.preventDefault(); // the fragment of the address names the room
  document.getElementById("write")?.focus();
}

/** Files may be dropped anywhere on the room. */
function dropping(isOver) {
  const hasFiles = (event) => mayUpload() && [...event.dataTransfer.types].includes("Files");
  return {
    onDragover: (event) => hasFiles(event) && (event.preventDefault(), (isOver.value = true)),
    onDragleave: (event) => event.currentTarget.contains(event.relatedTarget) || (isOver.value = false),
    onDrop: (event) => {
      isOver.value = false;
      if (!hasFiles(event)) return;
      event.preventDefault();
      upload(event.dataTransfer.files);
    },
  };
}

export const App = {
  setup() {
    const log = ref(null);
    const isOver = ref(false);
    watchWidth();
    watchEffect(nameWindow);
    const onKeydown = (event) => onPageKey(event, () => log.value?.toLatest());
    onMounted(() => addEventListener("keydown", onKeydown));
    onBeforeUnmount(() => removeEventListener("keydown", onKeydown));
    const drop = dropping(isOver);

    return () => {
      const t = texts.value;
      if (state.screen === "start" || !state.view) return [h(StartScreen), notices(t)];
      return [
        h("a", { class: "skip", href: "#write", onClick: focusComposer }, t.skip),
        h("div", { class: "chat" }, [
          h(Sidebar),
          h("main", { class: "room", ...drop }, [
            h(Header),
            h(Banner),
            h(Log, { ref: log, key: `log ${state.view.room}` }),
            h(Composer, { key: `write ${state.view.room}`, onSent: () => log.value.toLatest() }),
            isOver.value ? h("div", { class: "drop-here" }, t.dropHere) : null,
          ]),
          h(Side),
        ]),
        state.popover ? h(Popover) : null,
        state.dialog ? h(DIALOGS[state.dialog.kind], { key: state.dialog.kind }) : null,
        notices(t),
        h("div", { class: "unseen", "aria-live": "polite", dir: "auto" }, state.announced),
      ];
    };
  },
};
