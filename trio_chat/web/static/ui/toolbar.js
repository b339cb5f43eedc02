// What can be done with the message under the pointer or the focus: a row of buttons at its corner.

import { QUICK } from "../core/emoji.js";
import { edit, linkToMessage, react, remove, reply } from "../doings.js";
import { texts } from "../preferences.js";
import { notify, state } from "../store.js";
import { h } from "../vue.js";
import { copyText } from "./copy.js";
import { iconButton } from "./parts.js";

const lacks = (operation) => state.view.operations !== null && !state.view.operations.has(operation);

export function mayDelete(mine) {
  return !lacks("delete") && (mine || state.view.standing.may("deleteOthers"));
}

export function confirmDelete(message) {
  state.dialog = { kind: "confirm", words: texts.value.deleteSure, action: texts.value.remove, run: () => remove(message) };
}

export function pickReaction(rect, message) {
  state.popover = { kind: "emoji", rect, pick: (emoji) => react(message, emoji) };
}

async function copyLink(message) {
  if (await copyText(linkToMessage(message))) notify(texts.value.linkCopied);
}

export const Toolbar = {
  props: { rowKey: { type: String, required: true }, message: { type: Object, required: true }, mine: Boolean },
  setup: (props) => () => {
    if (state.hot !== props.rowKey || !state.view.standing.may("write")) return null;
    const t = texts.value;
    const { message, mine } = props;
    const reactButton = (emoji) => h("button", {
      type: "button", class: "icon-button quick", "aria-label": t.reactWith(emoji), title: t.reactWith(emoji), onClick: () => react(message, emoji),
    }, emoji);
    const more = (event) => pickReaction(event.currentTarget.getBoundingClientRect(), message);
    return h("div", { class: "toolbar", role: "group", "aria-label": t.messageActions }, [
      ...(lacks("react") ? [] : [
        ...QUICK.slice(0, 3).map(reactButton),
        iconButton("smile", t.react, more, { "aria-haspopup": "dialog" }),
      ]),
      iconButton("reply", t.reply, () => reply(message)),
      mine && !lacks("edit") ? iconButton("edit", t.edit, () => edit(message)) : null,
      iconButton("link", t.copyLink, () => copyLink(message)),
      mayDelete(mine) ? iconButton("trash", t.remove, () => confirmDelete(message), { class: "icon-button danger" }) : null,
    ]);
  },
};
