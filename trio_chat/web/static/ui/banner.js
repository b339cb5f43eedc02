// What is wrong with the connection or with my being in this room, and what can be done about it.

import { askIn, leaveRoom, reconnect } from "../doings.js";
import { texts } from "../preferences.js";
import { now, state } from "../store.js";
import { h, onBeforeUnmount, onMounted, ref } from "../vue.js";

const MANY_ATTEMPTS = 3; // first ones that failed: perhaps it is not a matter of time
const ASKABLE = new Set(["private", "forbidden"]);

/** Why I am not in this room; with the way to ask where asking helps. */
function roomTrouble({ error, room }, t) {
  const words = error.code === "removed" ? t.removedFrom(room, error.message) : (t.errors[error.code] ?? error.message);
  const mayAsk = ASKABLE.has(error.code) && !now.chat.lacks("ask");
  return h("div", { class: "banner bad room-trouble", role: "alert" }, [
    h("span", words),
    mayAsk ? h("button", { type: "button", onClick: () => askIn() }, t.askIn) : null,
    now.chat.rooms.size > 1 ? h("button", { type: "button", onClick: () => leaveRoom(room) }, t.close) : null,
  ]);
}

/** A listener hears of it once, not at every second. */
export const Banner = {
  setup() {
    const now = ref(Date.now() / 1000);
    let timer = null;
    onMounted(() => (timer = setInterval(() => (now.value = Date.now() / 1000), 500)));
    onBeforeUnmount(() => clearInterval(timer));

    function content(status, t) {
      const action = (label) => h("button", { type: "button", onClick: reconnect }, label);
      if (status.state === "stopped") return [h("span", t.closedWhy(status.reason)), action(t.reconnect)];
      if (status.state !== "waiting") return [h("span", t.connecting)];
      if (status.offline) return [h("span", t.offlineWhy), action(t.tryNow)];
      const seconds = Math.max(1, Math.ceil(status.retryAt - now.value));
      return [h("span", status.first ? t.firstRetryIn(seconds) : t.retryIn(seconds)), action(t.tryNow)];
    }

    /** A browser is told nothing of a refused upgrade, so neither can the page tell. */
    const seemsRefused = ({ first, offline, attempt }) => first && !offline && attempt >= MANY_ATTEMPTS;

    function spoken(status, t) {
      if (status.state === "stopped") return t.closedWhy(status.reason);
      if (status.state === "waiting" && status.offline) return t.offlineWhy;
      if (seemsRefused(status)) return t.seemsRefused;
      if (status.state === "waiting") return status.first ? t.notYet : t.lost;
      return status.state === "online" ? t.online : "";
    }

    return () => {
      const t = texts.value;
      const { status, isLagging } = state.view;
      const isAgain = status.state === "connecting" && status.attempt > 0;
      const isShown = isAgain || status.state === "waiting" || status.state === "stopped";
      const tone = status.state === "stopped" ? "bad" : "busy";
      return h("div", { class: "banner-place" }, [
        h("p", { class: "unseen", role: "status", "aria-live": "polite" }, spoken(status, t)),
        isShown ? h("div", { class: ["banner", tone] }, [
          ...content(status, t),
          seemsRefused(status) ? h("p", { class: "banner-hint" }, t.seemsRefused) : null,
        ]) : null,
        state.view.error && !isShown ? roomTrouble(state.view, t) : null,
        isLagging && !isShown ? h("div", { class: "banner quiet" }, [h("span", t.catchingUp)]) : null,
      ]);
    };
  },
};
