// The bar at the top: the room, who is there, whether the connection holds; and what to do if it does not.

import { texts } from "../preferences.js";
import { reconnect, state } from "../store.js";
import { h, onBeforeUnmount, onMounted, ref } from "../vue.js";
import { icon, mark } from "./icons.js";

const MANY_ATTEMPTS = 3; // first ones that failed: perhaps it is not a matter of time

/** The connection's state in a word, and its colour. */
function light(status, t) {
  if (status.state === "online") return { word: t.online, tone: "good" };
  if (status.state === "stopped") return { word: t.stoppedTitle, tone: "bad" };
  if (status.offline) return { word: t.offline, tone: "bad" };
  return { word: t.connecting, tone: "busy" };
}

function button({ name, label, onClick, ...attributes }, ...children) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onClick, ...attributes }, [
    icon(name),
    ...children,
  ]);
}

export const Header = {
  setup: () => () => {
    const t = texts.value;
    const { room, topic, user, count, status } = state.view;
    const { word, tone } = light(status, t);
    return h("header", { class: "bar" }, [
      mark(),
      h("div", { class: "bar-title" }, [
        h("h1", { dir: "auto" }, [h("span", { class: "sign", "aria-hidden": "true" }, "#"), h("bdi", room)]),
        h("p", { class: "bar-line" }, [
          h("span", { class: ["light", tone], "data-state": status.state }, word),
          topic ? h("span", { class: "topic", dir: "auto", title: topic }, topic) : null,
        ]),
      ]),
      button({
        name: "share", label: t.share, "aria-haspopup": "dialog", onClick: () => (state.dialog = true),
      }, h("span", { class: "button-word" }, t.invite)),
      button({
        name: "people",
        label: user ? t.showPeople(count) : t.people,
        class: "icon-button people-button",
        "aria-expanded": String(state.isNarrow === state.panel),
        "aria-controls": "people",
        onClick: () => (state.panel = !state.panel),
      }, user ? h("span", { class: "button-count" }, count) : null),
    ]);
  },
};

/** What is wrong with the connection and what can be done; a listener hears it once, not at every second. */
export const ConnectionBanner = {
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
        isLagging && !isShown ? h("div", { class: "banner quiet" }, [h("span", t.catchingUp)]) : null,
      ]);
    };
  },
};
