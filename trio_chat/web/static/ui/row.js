// One row of the log: a message, an unsent one, a day, or a word about the room or the history itself.

import { format, texts } from "../preferences.js";
import { state } from "../store.js";
import { h } from "../vue.js";
import { message } from "./message.js";
import { personName } from "./parts.js";

const DAY = 86_400;

function dayWord(seconds, t) {
  const today = new Date().toDateString();
  if (new Date(seconds * 1000).toDateString() === today) return t.today;
  if (new Date((seconds + DAY) * 1000).toDateString() === today) return t.yesterday;
  return format.value.day(seconds);
}

/** Words with names in them: `{name}` parts are isolated. */
const sentence = (parts) => parts.map((part) => (part.name === undefined ? part : personName(part.name)));

function event({ op, user, target, role, text, kind, archived, slow_seconds: slow, private: isPrivate }, t) {
  const who = { name: user.name };
  if (op === "topic") return sentence(t.topicIs(who, text));
  if (op === "created") return kind === "direct" ? null : sentence(t.created(who));
  if (op === "asked") return sentence(t.asks(who, text ?? ""));
  if (op === "settings") return sentence(t.changedSettings(who, { archived, slow, isPrivate }));
  if (op === "member" && target) return sentence(t.became(who, { name: target.name }, role, user.id === target.id));
  return null;
}

const divider = (kind, words) => h("div", { class: ["divider", kind] }, h("span", words));

const DRAW = {
  message,
  unsent: message,
  day: (row, t) => divider("day", dayWord(row.at, t)),
  unread: (row, t) => divider("unread", t.newLine),
  gap: (row, t) => h("div", { class: "remark" }, t.gap(row.to - row.from + 1)),
  reloaded: (row, t) => h("div", { class: "remark" }, t.reloaded),
  event: (row, t) => h("div", { class: "remark event", "data-event": row.event.op }, event(row.event, t)),
  beginning: (row, t) => h("div", { class: "remark beginning" }, h("bdi", t.beginning(state.view.title))),
};

/** A component, not a function: Vue leaves it alone as long as its row is the same object. */
export const Row = {
  props: { row: { type: Object, required: true } },
  setup: (props) => () => h("div", { class: "row" }, [DRAW[props.row.kind](props.row, texts.value)]),
};
