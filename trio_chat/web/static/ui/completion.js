// The proposals above the message box while an @name or an :emoji: is being written.

import { complete, proposals, queryAt } from "../core/complete.js";
import { texts } from "../preferences.js";
import { isMine, state } from "../store.js";
import { h, ref, shallowRef } from "../vue.js";
import { avatar } from "./parts.js";

/** For the composer's setup. `put(text, caret)` writes a completed text. */
export function completion(put) {
  const found = shallowRef([]);
  const chosen = ref(0);
  let query = null;

  function update(text, caret) {
    query = queryAt(text, caret);
    const users = state.view.members.filter((user) => !isMine(user));
    found.value = query ? proposals(query, users, "all") : [];
    chosen.value = 0;
  }

  function close() {
    found.value = [];
  }

  function take(box, index = chosen.value) {
    const done = complete(box.value, box.selectionStart, query, found.value[index]);
    close();
    put(done.text, done.caret);
  }

  /** Whether the key was for the proposals. */
  function onKeydown(event, box) {
    const { length } = found.value;
    if (length === 0) return false;
    if (event.key === "ArrowDown") chosen.value = (chosen.value + 1) % length;
    else if (event.key === "ArrowUp") chosen.value = (chosen.value + length - 1) % length;
    else if (event.key === "Enter" || event.key === "Tab") take(box);
    else if (event.key === "Escape") close();
    else return false;
    event.preventDefault();
    event.stopPropagation();
    return true;
  }

  const attributes = () => ({
    "aria-autocomplete": "list",
    "aria-controls": found.value.length > 0 ? "proposals" : undefined,
    "aria-activedescendant": found.value.length > 0 ? `proposal-${chosen.value}` : undefined,
  });

  const list = (box) => (found.value.length === 0 ? null : h("ul", {
    id: "proposals", class: "proposals", role: "listbox", "aria-label": texts.value.proposals,
  }, found.value.map((one, index) => h("li", {
    key: one.key, id: `proposal-${index}`, role: "option", class: { chosen: index === chosen.value }, "aria-selected": String(index === chosen.value),
    onPointerdown: (event) => (event.preventDefault(), take(box.value, index)),
  }, [
    one.user ? avatar(one.user, "tiny") : h("span", { class: "proposal-sign", "aria-hidden": "true" }, one.emoji ?? "@"),
    h("bdi", one.label),
  ]))));

  return { update, close, onKeydown, attributes, list };
}
