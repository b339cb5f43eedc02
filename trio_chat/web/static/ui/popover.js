// What opens at a place on the page and goes with the next click: a menu, or the emoji.

import { EMOJI } from "../core/emoji.js";
import { texts } from "../preferences.js";
import { state } from "../store.js";
import { h, nextTick, onBeforeUnmount, onMounted, ref } from "../vue.js";

const GAP = 6; // pixels between it, what it belongs to, and the edges
const COLUMNS = 8;

function place(element, { left, right, top, bottom }) {
  const { offsetWidth: width, offsetHeight: height } = element;
  const isBelow = bottom + height + GAP < innerHeight || top < height + GAP;
  const x = document.dir === "rtl" ? left : right - width;
  element.style.insetBlockStart = `${Math.max(GAP, Math.min(innerHeight - height - GAP, isBelow ? bottom + GAP : top - height - GAP))}px`;
  element.style.left = `${Math.max(GAP, Math.min(innerWidth - width - GAP, x))}px`;
}

export const Popover = {
  setup() {
    const element = ref(null);
    const query = ref("");
    const cameFrom = document.activeElement;
    const { kind, rect, title, items, pick } = state.popover;

    function close(isBack = true) {
      state.popover = null;
      if (isBack && cameFrom?.isConnected) cameFrom.focus();
    }
    const choose = (run) => (close(), run());
    const onPointer = (event) => element.value?.contains(event.target) || close(false);
    const focusables = () => [...element.value.querySelectorAll("button")];

    function onKeydown(event) {
      const moves = { ArrowDown: kind === "emoji" ? COLUMNS : 1, ArrowUp: kind === "emoji" ? -COLUMNS : -1, ArrowRight: 1, ArrowLeft: -1 };
      if (event.key === "Escape" || event.key === "Tab") {
        event.preventDefault();
        event.stopPropagation();
        close();
      } else if (event.key in moves && !(event.target.tagName === "INPUT" && /Left|Right/.test(event.key))) {
        event.preventDefault();
        const all = focusables();
        const at = all.indexOf(document.activeElement);
        const next = at < 0 ? 0 : Math.max(0, Math.min(all.length - 1, at + moves[event.key]));
        all[next]?.focus();
      } else if (event.key === "Enter" && event.target.tagName === "INPUT") {
        event.preventDefault();
        focusables()[0]?.click();
      }
    }

    onMounted(async () => {
      place(element.value, rect);
      await nextTick();
      (element.value.querySelector("input") ?? focusables()[0])?.focus();
      addEventListener("pointerdown", onPointer, true);
    });
    onBeforeUnmount(() => removeEventListener("pointerdown", onPointer, true));

    const menu = () => [
      h("p", { class: "popover-title", "aria-hidden": "true" }, h("bdi", title)),
      ...items.map(({ label, run, isDanger }) => h("button", {
        type: "button", role: "menuitem", class: ["menu-item", { danger: isDanger }], onClick: () => choose(run),
      }, label)),
    ];

    function emoji(t) {
      const wanted = query.value.trim().toLowerCase();
      const found = wanted ? EMOJI.filter(([, words]) => words.includes(wanted)) : EMOJI;
      return [
        h("input", {
          class: "emoji-search", type: "text", value: query.value, "aria-label": t.searchEmoji, placeholder: t.searchEmoji,
          autocomplete: "off", onInput: (event) => (query.value = event.target.value),
        }),
        h("div", { class: "emoji-grid" }, found.map(([one, words]) => h("button", {
          key: one, type: "button", class: "emoji-one", "aria-label": `${one} ${words.split(" ")[0]}`, title: words.split(" ")[0],
          onClick: () => choose(() => pick(one)),
        }, one))),
      ];
    }

    return () => h("div", {
      class: ["popover", kind], ref: element, onKeydown,
      role: kind === "menu" ? "menu" : "dialog", "aria-label": kind === "menu" ? title : texts.value.react,
    }, kind === "menu" ? menu() : emoji(texts.value));
  },
};
