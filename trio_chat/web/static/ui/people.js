// Who is here, and the settings of the one who looks: a column beside the log, a drawer over it where there is no space.

import { texts } from "../preferences.js";
import { askForName, isMine, state } from "../store.js";
import { h, nextTick, onBeforeUnmount, onMounted, ref, watch } from "../vue.js";
import { icon } from "./icons.js";
import { avatar, languageChoice, personName, themeChoice } from "./parts.js";

const NARROW = "(max-width: 819px)"; // as in css/layout.css

export const People = {
  setup() {
    const query = matchMedia(NARROW);
    const closeButton = ref(null);
    const onChange = () => Object.assign(state, { isNarrow: query.matches, panel: false });
    const onKey = (event) => event.key === "Escape" && state.isNarrow && (state.panel = false);
    let cameFrom = null;

    onChange();
    onMounted(() => {
      query.addEventListener("change", onChange);
      document.addEventListener("keydown", onKey);
    });
    onBeforeUnmount(() => {
      query.removeEventListener("change", onChange);
      document.removeEventListener("keydown", onKey);
    });
    watch(() => state.panel, async (isOpen) => {
      if (!state.isNarrow) return;
      if (isOpen) cameFrom = document.activeElement;
      await nextTick();
      if (isOpen) closeButton.value?.focus();
      else cameFrom?.focus();
    });

    const person = (user, t) => h("li", { key: user.id, class: "person" }, [
      avatar(user, "small"),
      personName(user.name),
      isMine(user) ? h("span", { class: "tag" }, t.you) : null,
    ]);

    function settings(t) {
      const { user, isNameFixed } = state.view;
      return h("div", { class: "settings" }, [
        user ? h("p", { class: "self" }, [
          avatar(user, "small"),
          h("span", { class: "unseen" }, `${t.youAre} `),
          h("strong", personName(user.name)),
          isNameFixed
            ? h("span", { class: "self-remark" }, t.signedIn)
            : h("button", { type: "button", class: "quiet-button", onClick: () => askForName() }, t.changeName),
        ]) : null,
        languageChoice(),
        themeChoice(),
      ]);
    }

    return () => {
      const t = texts.value;
      const { user, members, count } = state.view;
      const isHidden = state.isNarrow ? !state.panel : state.panel;
      const hidden = count - members.length;
      return [
        state.isNarrow && state.panel ? h("div", { class: "shade", onClick: () => (state.panel = false) }) : null,
        h("aside", { id: "people", class: ["people", { shut: isHidden }], inert: isHidden, "aria-label": t.people }, [
          h("div", { class: "people-head" }, [
            h("h2", user ? t.peopleHere(count) : t.people),
            h("button", {
              type: "button", class: "icon-button", ref: closeButton, "aria-label": t.close, title: t.close,
              onClick: () => (state.panel = !state.panel),
            }, icon("close")),
          ]),
          h("ul", { class: "people-list", tabindex: 0, "aria-label": t.people }, [
            ...members.map((user) => person(user, t)),
            hidden > 0 ? h("li", { key: "more", class: "person-more" }, t.andMore(hidden)) : null,
          ]),
          settings(t),
        ]),
      ];
    };
  },
};
