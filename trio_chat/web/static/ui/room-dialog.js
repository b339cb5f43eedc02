// The room's dialog: its link to give to others, the settings of those who may, and the way to another room.

import { DEFAULT_ROOM, hostOnlyHere } from "../core/address.js";
import { MAX_ROOM, roomName } from "../core/text.js";
import { invitation, leaveRoom, linkToRoom, settings } from "../doings.js";
import { texts } from "../preferences.js";
import { go, state } from "../store.js";
import { h, ref } from "../vue.js";
import { copyText } from "./copy.js";
import { Dialog, field } from "./dialog.js";

const SLOW = [0, 5, 30, 120]; // seconds between messages that are offered

function linkPart(t, link, isCopied, copy) {
  const onlyHere = hostOnlyHere(link.value);
  const label = link.isInvitation ? t.invitationText : (onlyHere ? t.shareHere : t.shareText);
  return h("div", { class: "field" }, [
    h("label", { for: "link" }, label),
    h("div", { class: "field-row" }, [
      h("input", {
        id: "link", type: "text", readonly: true, dir: "ltr", value: link.value,
        "aria-describedby": onlyHere ? "link-hint" : undefined, onFocus: (event) => event.target.select(),
      }),
      h("button", { type: "button", class: "primary", onClick: copy }, isCopied ? t.copied : t.copy),
    ]),
    onlyHere ? h("p", { class: "field-hint", id: "link-hint" }, t.shareWider(onlyHere).map((part) => (
      part.code ? h("code", part.code) : part
    ))) : null,
    h("p", { class: "unseen", role: "status" }, isCopied ? t.copied : ""),
  ]);
}

function settingsPart(t, standing) {
  const isHere = state.view.operations === null || state.view.operations.has("settings");
  if (!isHere || !state.view.isJoined) return null;
  const slow = standing.may("slow") ? h("div", { class: "field" }, [
    h("label", { for: "slow" }, t.slowLabel),
    h("select", { id: "slow", value: standing.slow, onChange: (event) => settings({ slow_seconds: Number(event.target.value) }) }, (
      [...new Set([...SLOW, standing.slow])].sort((a, b) => a - b).map((one) => h("option", { value: one }, one === 0 ? t.slowOff : t.seconds(one)))
    )),
  ]) : null;
  const owned = standing.may("settings") ? [
    h("label", { class: "check" }, [
      h("input", { type: "checkbox", checked: standing.kind === "private", onChange: (event) => settings({ private: event.target.checked }) }),
      h("span", t.isPrivate),
    ]),
    h("label", { class: "check" }, [
      h("input", { type: "checkbox", checked: standing.archived, onChange: (event) => settings({ archived: event.target.checked }) }),
      h("span", t.archive),
    ]),
  ] : [];
  return slow || owned.length > 0 ? h("div", { class: "dialog-form" }, [slow, ...owned]) : null;
}

export const RoomDialog = {
  setup() {
    const link = ref({ value: linkToRoom(), isInvitation: false });
    const isCopied = ref(false);
    const other = ref("");
    const isWrong = ref(false);
    const { standing, room } = state.view;
    if (standing.kind === "private" && standing.may("invite")) {
      invitation().then((made) => made && (link.value = { value: made, isInvitation: true }));
    }
    const copy = async () => (isCopied.value = await copyText(link.value.value));

    function submit(close) {
      const name = roomName(other.value);
      isWrong.value = name === null;
      if (name === null) return;
      close();
      go(name);
    }

    const otherPart = (t, close) => h("form", { onSubmit: (event) => (event.preventDefault(), submit(close)) }, (
      field({ id: "other", label: t.otherRoom, error: isWrong.value ? t.badRoom : "" }, h("div", { class: "field-row" }, [
        h("input", {
          id: "other", type: "text", dir: "auto", spellcheck: "false", autocapitalize: "off", autocomplete: "off",
          maxlength: MAX_ROOM * 2, placeholder: DEFAULT_ROOM, value: other.value,
          "aria-invalid": isWrong.value ? "true" : undefined, "aria-describedby": isWrong.value ? "other-error" : undefined,
          onInput: (event) => (other.value = event.target.value),
        }),
        h("button", { type: "submit", class: "secondary" }, t.go),
      ]))
    ));

    /** Giving up the membership of a private room is not undone by coming back. */
    const leavePart = (t, close) => (standing.kind !== "private" || !state.view.isJoined ? null : h("button", {
      type: "button", class: "quiet-button danger", onClick: () => {
        close();
        state.dialog = { kind: "confirm", words: t.leaveSure(room), action: t.leaveForGood, run: () => leaveRoom(room, { forGood: true }) };
      },
    }, t.leaveForGood));

    return () => {
      const t = texts.value;
      return h(Dialog, { title: standing.kind === "direct" ? state.view.title : t.shareTitle(room) }, { default: ({ close }) => [
        standing.kind === "direct" ? null : linkPart(t, link.value, isCopied.value, copy),
        settingsPart(t, standing),
        otherPart(t, close),
        leavePart(t, close),
      ] });
    };
  },
};
