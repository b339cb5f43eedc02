// The log of the room: the rows near what is in sight, history at both ends, and the way back to the newest.

import { loadLatest, loadNewer, loadOlder } from "../doings.js";
import { texts } from "../preferences.js";
import { countAfter, reading, state } from "../store.js";
import { h, nextTick, onBeforeUnmount, onMounted, onUpdated, ref, watch } from "../vue.js";
import { icon, mark } from "./icons.js";
import { onLogKey } from "./keys.js";
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

const keyAt = (target) => target.closest?.(".message")?.dataset.key ?? null;

/** The message under the pointer or the focus is the one that can be acted on. */
const pointing = {
  onPointerover: (event) => event.pointerType === "mouse" && (state.hot = keyAt(event.target)),
  onPointerleave: (event) => event.pointerType === "mouse" && (state.hot = null),
  onFocusin: (event) => (state.hot = keyAt(event.target) ?? state.hot),
  onClick: (event) => {
    const isTouch = event.pointerType === "touch" || event.pointerType === "pen";
    if (isTouch && !event.target.closest("a, button, input")) state.hot = state.hot === keyAt(event.target) ? null : keyAt(event.target);
  },
};

export const Log = {
  setup(_, { expose }) {
    const scroller = ref(null);
    const content = ref(null);
    const isAway = ref(false);
    const turn = ref(0); // another window of rows is wanted
    let leftAt = null; // the newest seq when the end was left
    let isReturning = false; // to the newest messages, which are on their way
    const keeper = new ScrollKeeper({
      moved: (isAtEnd) => settle(isAtEnd),
      nearStart: loadOlder,
      nearEnd: loadNewer,
      window: () => (turn.value += 1),
    });

    /** At the end means at the newest message, not at the end of a page of history. */
    function settle(isAtEnd) {
      const isHome = isAtEnd && (state.view?.attached ?? true);
      if (isHome) leftAt = null;
      else leftAt ??= state.view?.newest ?? null;
      isAway.value = !isHome;
      reading(isHome);
    }

    function toLatest() {
      isReturning = !state.view.attached;
      loadLatest();
      keeper.toEnd();
      settle(true);
    }
    expose({ toLatest });

    function jump() {
      const row = state.jump && state.view.rows.find(({ message }) => message?.seq === state.jump.seq);
      if (row && keeper.toKey(row.key)) nextTick(() => content.value?.querySelector(`[data-seq="${state.jump?.seq}"]`)?.focus({ preventScroll: true }));
    }
    watch(() => state.jump, (jumping) => jumping && nextTick(jump));

    onMounted(() => {
      keeper.attach(scroller.value, content.value);
      if (state.jump) nextTick(jump);
    });
    onBeforeUnmount(() => keeper.detach());
    onUpdated(() => {
      const { attached } = state.view;
      if (attached && isReturning) toLatest();
      if (!attached && keeper.isAtEnd) keeper.isAtEnd = false;
      keeper.settle();
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
      const { title, rows, older, paging, isLoaded, isEmpty, typists } = state.view;
      turn.value;
      const { start, end, before, after } = keeper.layOut(rows);
      return h("section", { class: "log-place" }, [
        h("div", {
          class: "log",
          ref: scroller,
          role: "log",
          tabindex: 0,
          "aria-label": t.messages(title),
          "aria-live": "off", // new messages are announced by app.js: history that is loaded should not be read out
          "aria-busy": String(!isLoaded || paging !== null),
          onKeydown: onLogKey,
          ...pointing,
        }, [
          h("div", { class: "log-head" }, [
            older ? h("div", { class: "older" }, paging === "older" ? t.loadingOlder : "") : null,
            isEmpty ? h("div", { class: "empty" }, [mark(), h("p", t.empty)]) : null,
          ]),
          h("div", { class: "log-content", ref: content }, [
            h("div", { key: "before", class: "space", style: { height: `${before}px` } }),
            ...rows.slice(start, end).map((row) => h(Row, { key: row.key, row, "data-key": row.key })),
            h("div", { key: "after", class: "space", style: { height: `${after}px` } }),
          ]),
        ]),
        typingLine(typists, t),
        isAway.value ? jumpButton(t) : null,
      ]);
    };
  },
};
