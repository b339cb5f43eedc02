// One row of the log: a message, an unsent one, a day, or a word about the history itself.

import { isEmoji } from "../core/text.js";
import { format, texts } from "../preferences.js";
import { isRemovable, remove, retry, state } from "../store.js";
import { h } from "../vue.js";
import { icon } from "./icons.js";
import { avatar, hue, personName, prose } from "./parts.js";

const DAY = 86_400;

function timeOf(seconds) {
  const { time, full } = format.value;
  return h("time", { datetime: new Date(seconds * 1000).toISOString(), title: full(seconds) }, time(seconds));
}

function dayWord(seconds, t) {
  const today = new Date().toDateString();
  if (new Date(seconds * 1000).toDateString() === today) return t.today;
  if (new Date((seconds + DAY) * 1000).toDateString() === today) return t.yesterday;
  return format.value.day(seconds);
}

/** Where an unsent message stands: a sign for eyes, a word for ears. */
function standing(item, t) {
  const name = { sending: "clock", waiting: "clock", stored: "check", failed: "alert" }[item.state];
  return h("span", { class: ["standing", item.state] }, [icon(name), h("span", { class: "unseen" }, t[item.state])]);
}

/**
 * The time stands in the corner where the last line ends; an invisible twin of it keeps the words out of there. The
 * last paragraph is an element of its own, because the corner depends on the way that it runs; and what is said in it
 * another, so that a character which turns the direction does not take the twin along.
 */
function bubble(text, at, sign) {
  const last = text.lastIndexOf("\n") + 1;
  const twin = h("span", {
    class: ["foot-space", { signed: sign }], "data-time": format.value.time(at), "aria-hidden": "true",
  });
  return h("div", { class: ["bubble", { emoji: isEmoji(text) }] }, [
    h("div", { class: "words" }, [
      ...prose(text.slice(0, last)),
      h("div", { class: "ending", dir: "auto" }, [h("span", { class: "said" }, prose(text.slice(last))), twin]),
    ]),
    h("span", { class: "foot" }, [timeOf(at), sign]),
  ]);
}

function failure(item, t) {
  const why = t.errors[item.error?.code] ?? item.error?.message;
  return h("div", { class: "failure" }, [
    h("span", { dir: "auto" }, why ? `${t.failed}: ${why}` : t.failed),
    h("button", { type: "button", onClick: () => retry(item.id) }, t.retry),
    h("button", { type: "button", onClick: () => remove(item.id) }, t.remove),
  ]);
}

function speaker(user, isShown) {
  return h("div", { class: ["message-name", hue(user), { unseen: !isShown }] }, personName(user.name));
}

function withdrawal(item, t) {
  return h("div", { class: "failure quiet" }, [
    h("span", t.waiting),
    h("button", { type: "button", onClick: () => remove(item.id) }, t.remove),
  ]);
}

function message(row, t) {
  const { message: said, mine, opens, closes } = row;
  const isUnsent = row.kind === "unsent";
  const shape = ["message", mine ? "mine" : "theirs", { opens, closes, unsent: isUnsent && said.state !== "stored" }];
  const isWithdrawable = isUnsent && said.state !== "failed" && isRemovable(said);
  return h("article", { class: shape, "data-state": isUnsent ? said.state : "history", "data-seq": said.seq }, [
    mine ? null : h("div", { class: "message-side" }, closes ? avatar(said.user) : null),
    h("div", { class: "message-body" }, [
      mine ? h("span", { class: "unseen" }, t.you) : speaker(said.user, opens),
      bubble(said.text, said.at, isUnsent ? standing(said, t) : null),
      isUnsent && said.state === "failed" ? failure(said, t) : null,
      isWithdrawable ? withdrawal(said, t) : null,
    ]),
  ]);
}

const DRAW = {
  message,
  unsent: message,
  day: (row, t) => h("div", { class: "divider day" }, h("span", dayWord(row.at, t))),
  unread: (row, t) => h("div", { class: "divider unread" }, h("span", t.newLine)),
  gap: (row, t) => h("div", { class: "remark" }, t.gap(row.to - row.from + 1)),
  reloaded: (row, t) => h("div", { class: "remark" }, t.reloaded),
  beginning: (row, t) => h("div", { class: "remark beginning" }, [
    h("bdi", t.beginning(state.view.room)),
  ]),
};

/** A component, not a function: Vue leaves it alone as long as its row is the same object. */
export const Row = {
  props: { row: { type: Object, required: true } },
  setup: (props) => () => DRAW[props.row.kind](props.row, texts.value),
};
