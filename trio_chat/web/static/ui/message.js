// A message: who, when, what it answers, what it says, what came of it.

import { isEmoji } from "../core/text.js";
import { quoted, react, retry, withdraw, isRemovable } from "../doings.js";
import { isForMe, isMine, jumpTo, state } from "../store.js";
import { h } from "../vue.js";
import { files } from "./files.js";
import { icon } from "./icons.js";
import { avatar, hue, personName, timeOf } from "./parts.js";
import { openPerson } from "./person.js";
import { prose } from "./prose.js";
import { Toolbar } from "./toolbar.js";

const QUOTED = 160; // characters of a quoted message

/** Where an unsent message stands: a sign for eyes, a word for ears. */
function standing(item, t) {
  const name = { sending: "clock", waiting: "clock", stored: "check", failed: "alert" }[item.state];
  return h("span", { class: ["standing", item.state] }, [icon(name), h("span", { class: "unseen" }, t[item.state])]);
}

function failure(item, t) {
  const why = t.errors[item.error?.code] ?? item.error?.message;
  return h("div", { class: "failure" }, [
    h("span", { dir: "auto" }, why ? `${t.failed}: ${why}` : t.failed),
    h("button", { type: "button", onClick: () => retry(item.id) }, t.retry),
    h("button", { type: "button", onClick: () => withdraw(item.id) }, t.remove),
  ]);
}

function withdrawal(item, t) {
  return h("div", { class: "failure quiet" }, [
    h("span", t.waiting),
    h("button", { type: "button", onClick: () => withdraw(item.id) }, t.remove),
  ]);
}

function quote(seq, t) {
  const found = quoted(seq);
  const words = found?.deleted ? t.deletedMessage : found?.text.slice(0, QUOTED).replace(/\s+/g, " ");
  return h("button", { type: "button", class: "quote", onClick: () => jumpTo(seq), title: t.toQuoted }, [
    icon("reply"),
    found ? h("span", { class: ["quote-name", hue(found.user)] }, personName(found.user.name)) : null,
    h("bdi", { class: "quote-words" }, found ? words : (found === null ? t.noSuchMessage : "…")),
  ]);
}

function reactions(said, t) {
  if (!said.reactions?.length) return null;
  const names = (users, count) => {
    const known = users.map((id) => state.view.members.find((user) => user.id === id)?.name).filter(Boolean);
    return known.length > 0 ? t.reactedBy(known, count) : t.reactionCount(count);
  };
  return h("div", { class: "reactions" }, said.reactions.map(({ emoji, count, users, me }) => h("button", {
    key: emoji,
    type: "button",
    class: ["reaction", { me }],
    "aria-pressed": String(Boolean(me)),
    "aria-label": `${emoji} ${names(users, count)}`,
    title: names(users, count),
    onClick: () => react(said, emoji),
  }, [h("span", { class: "reaction-emoji" }, emoji), h("span", count)])));
}

function head(said, isShown, sign) {
  const mine = said.user ?? state.view.user;
  return h("div", { class: ["message-head", { unseen: !isShown }] }, [
    mine ? h("button", {
      type: "button", class: ["message-name", hue(mine)], tabindex: isShown ? undefined : -1,
      onClick: (event) => openPerson(event, mine),
    }, personName(mine.name)) : null,
    isShown ? timeOf(said.at) : null,
    isShown ? sign : null,
  ]);
}

function words(said, t) {
  if (said.deleted) return h("div", { class: "words deleted" }, t.deletedMessage);
  const isCall = Boolean(said.mentions?.length || said.mentions_all);
  const my = state.view.user?.name.toLowerCase();
  const isMe = (name) => isForMe(said) && (said.mentions_all || name.toLowerCase() === my || my?.startsWith(name.toLowerCase()));
  const isBare = said.files?.length > 0 && said.text === said.files.map(({ name }) => name).join(", ");
  if (isBare) return null;
  return h("div", { class: ["words", { emoji: isEmoji(said.text) }] }, prose(said.text, { isCall, isMe }));
}

export function message(row, t) {
  const { message: said, mine, opens } = row;
  const isUnsent = row.kind === "unsent";
  const author = said.user ?? state.view.user;
  const sign = isUnsent ? standing(said, t) : null;
  const replyTo = said.reply_to ?? said.more?.reply_to;
  const isWithdrawable = isUnsent && said.state !== "failed" && isRemovable(said);
  return h("article", {
    class: ["message", mine ? "mine" : "theirs", {
      opens, unsent: isUnsent && said.state !== "stored", called: !isUnsent && isForMe(said), sought: state.jump?.seq === said.seq && said.seq,
    }],
    "data-state": isUnsent ? said.state : "history",
    "data-seq": said.seq,
    "data-key": row.key,
    tabindex: -1,
  }, [
    h("div", { class: "message-side" }, opens && author ? avatar(author) : timeOf(said.at, { "aria-hidden": "true" })),
    h("div", { class: "message-body" }, [
      head(said, opens, sign),
      replyTo === undefined ? null : quote(replyTo, t),
      h("div", { class: "message-line" }, [
        words(said, t),
        said.edited_at && !said.deleted ? h("span", { class: "edited", title: t.edited }, t.editedMark) : null,
        opens ? null : sign,
      ]),
      said.files?.length ? files(said.files, t) : null,
      reactions(said, t),
      isUnsent && said.state === "failed" ? failure(said, t) : null,
      isWithdrawable ? withdrawal(said, t) : null,
    ]),
    isUnsent || said.deleted ? null : h(Toolbar, { rowKey: row.key, message: said, mine }),
  ]);
}
