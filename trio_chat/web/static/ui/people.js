// Who is here: with roles, who is away, and what can be done with each.

import { texts } from "../preferences.js";
import { isMine, state } from "../store.js";
import { h } from "../vue.js";
import { avatar, iconButton, personName } from "./parts.js";
import { openPerson } from "./person.js";

export const People = {
  setup: () => () => {
    const t = texts.value;
    const { user, members, count, away, standing } = state.view;
    const hidden = count - members.length;
    const person = (one) => {
      const role = standing.roleOf(one);
      const isAway = away.has(one.id);
      const isMe = isMine(one);
      return h("li", { key: one.id, class: ["person", { away: isAway }] }, h(isMe ? "div" : "button", {
        class: "person-line",
        ...(isMe ? {} : { type: "button", "aria-haspopup": "menu", onClick: (event) => openPerson(event, one) }),
      }, [
        h("span", { class: "person-face" }, [avatar(one, "small"), h("span", { class: "dot", "aria-hidden": "true" })]),
        personName(one.name),
        isMe ? h("span", { class: "tag" }, t.you) : null,
        role === "member" || role === "none" ? null : h("span", { class: "role" }, t.roles[role]),
        isAway ? h("span", { class: "unseen" }, t.away) : null,
      ]));
    };
    return [
      h("div", { class: "side-head" }, [
        h("h2", user ? t.peopleHere(count) : t.people),
        iconButton("close", t.close, () => (state.isNarrow ? (state.drawer = null) : (state.side = null)), { "data-first": "1" }),
      ]),
      h("ul", { class: "people-list", tabindex: 0, "aria-label": t.people }, [
        ...members.map(person),
        hidden > 0 ? h("li", { key: "more", class: "person-more" }, t.andMore(hidden)) : null,
      ]),
    ];
  },
};
