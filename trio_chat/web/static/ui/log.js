// The log of the room: rows, history at both ends, and the way back to the newest.

import { texts } from "../preferences.js";
import { countAfter, follow, loadLatest, loadNewer, loadOlder, state } from "../store.js";
import { h, onBeforeUnmount, onBeforeUpdate, onMounted, onUpdated, ref } from "../vue.js";
import { icon, mark } from "./icons.js";
import { personName } from "./parts.js";
import { Row } from "./row.js";
import { ScrollKeeper } from "./scroll.js";

function typingLine(typists, t) {
  const words = typists.length ? t.typing(typists).map((part) => (part.name ? personName(part.name) : part)) : null;
  return h("div", { class: "typing" }, words && [
    h("span", { class: "dots", "aria-hidden": "true" }, [h("i"), h("i"), h("i")]),
    h("span", { class: "typing-words" }, words),
  ]);
}

function emptyRoom(t) {
  return h("div", { class: "empty" }, [mark(), h("p", t.empty)]);
}

export const Log = {
  setup(_, { expose }) {
    const scroller = ref(null);
    const content = ref(null);
    const isAway = ref(false);
    let leftAt = null; // the newest seq when the end was left
    let isReturning = false; // to the newest messages, which are on their way
    const keeper = new ScrollKeeper({
      moved: (isAtEnd) => settle(isAtEnd),
      nearStart: loadOlder,
      nearEnd: loadNewer,
    });

    /** At the end means at the newest message, not at the end of a page of history. */
    function settle(isAtEnd) {
      const isHome = isAtEnd && (state.view?.attached ?? true);
      if (isHome) leftAt = null;
      else leftAt ??= state.view?.newest ?? null;
      isAway.value = !isHome;
      follow(isHome);
    }

    function toLatest() {
      isReturning = !state.view.attached;
      loadLatest();
      keeper.toEnd();
      settle(true);
    }
    expose({ toLatest });

    onMounted(() => keeper.attach(scroller.value, content.value));
    onBeforeUnmount(() => keeper.detach());
    onBeforeUpdate(() => keeper.before());
    onUpdated(() => {
      const { attached } = state.view;
      if (attached && isReturning) toLatest();
      if (!attached) keeper.isAtEnd = false;
      keeper.after();
    });

    function jumpButton(t) {
      const fresh = leftAt === null ? 0 : countAfter(leftAt);
      const label = fresh > 0 ? t.newMessages(fresh) : t.toLatest;
      return h("button", {
        type: "button", class: ["jump", { fresh: fresh > 0 }], "aria-label": label, title: label, onClick: toLatest,
      }, [
        icon("down"),
        fresh > 0 ? h("span", t.newMessages(fresh)) : null,
      ]);
    }

    return () => {
      const t = texts.value;
      const { room, rows, older, paging, isLoaded, isEmpty, typists } = state.view;
      return h("section", { class: "log-place" }, [
        h("div", {
          class: "log",
          ref: scroller,
          role: "log",
          tabindex: 0,
          "aria-label": t.messages(room),
          "aria-live": "off", // new messages are announced by app.js: history that is loaded should not be read out
          "aria-busy": String(!isLoaded || paging !== null),
        }, h("div", { class: "log-content", ref: content }, [
          older ? h("div", { class: "older" }, paging === "older" ? t.loadingOlder : "") : null,
          isEmpty ? emptyRoom(t) : null,
          ...rows.map((row) => h(Row, { key: row.key, row, "data-anchor": "1" })),
        ])),
        typingLine(typists, t),
        isAway.value ? jumpButton(t) : null,
      ]);
    };
  },
};
