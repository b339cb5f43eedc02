// The room's dialog: its link to give to others, and the way to another room.

import { DEFAULT_ROOM, hostOnlyHere } from "../core/address.js";
import { MAX_ROOM, roomName } from "../core/text.js";
import { texts } from "../preferences.js";
import { linkToRoom, state } from "../store.js";
import { h, onMounted, ref } from "../vue.js";
import { icon } from "./icons.js";

export const RoomDialog = {
  setup() {
    const dialog = ref(null);
    const linkInput = ref(null);
    const isCopied = ref(false);
    const other = ref("");
    const isWrong = ref(false);
    onMounted(() => dialog.value.showModal());
    const close = () => dialog.value.close();

    /** The clipboard is only there where the page is served securely; the old way works everywhere. */
    async function copy() {
      linkInput.value.select();
      try {
        await navigator.clipboard.writeText(linkInput.value.value);
        isCopied.value = true;
      } catch {
        isCopied.value = document.execCommand("copy");
      }
    }

    function go(event) {
      event.preventDefault();
      const room = roomName(other.value);
      isWrong.value = room === null;
      if (room === null) return;
      close();
      location.hash = encodeURIComponent(room);
    }

    const link = linkToRoom();
    const onlyHere = hostOnlyHere(link);
    const wider = (t) => h("p", { class: "field-hint", id: "link-hint" }, t.shareWider(onlyHere).map((part) => (
      part.code ? h("code", part.code) : part
    )));

    const linkPart = (t) => h("div", { class: "field" }, [
      h("label", { for: "link" }, onlyHere ? t.shareHere : t.shareText),
      h("div", { class: "field-row" }, [
        h("input", {
          id: "link", ref: linkInput, type: "text", readonly: true, dir: "ltr", value: link,
          "aria-describedby": onlyHere ? "link-hint" : undefined,
          onFocus: (event) => event.target.select(),
        }),
        h("button", { type: "button", class: "primary", onClick: copy }, isCopied.value ? t.copied : t.copy),
      ]),
      onlyHere ? wider(t) : null,
      h("p", { class: "unseen", role: "status" }, isCopied.value ? t.copied : ""),
    ]);

    const otherPart = (t) => h("form", { class: "field", onSubmit: go }, [
      h("label", { for: "other" }, t.otherRoom),
      h("div", { class: "field-row" }, [
        h("input", {
          id: "other", type: "text", dir: "auto", spellcheck: "false", autocapitalize: "off", autocomplete: "off",
          maxlength: MAX_ROOM * 2, placeholder: DEFAULT_ROOM, value: other.value,
          "aria-invalid": isWrong.value ? "true" : undefined,
          "aria-describedby": isWrong.value ? "other-error" : undefined,
          onInput: (event) => (other.value = event.target.value),
        }),
        h("button", { type: "submit", class: "secondary" }, t.go),
      ]),
      isWrong.value ? h("p", { class: "field-error", id: "other-error", role: "alert" }, t.badRoom) : null,
    ]);

    return () => {
      const t = texts.value;
      return h("dialog", {
        class: "dialog",
        ref: dialog,
        "aria-labelledby": "dialog-title",
        onClose: () => (state.dialog = false),
        onClick: (event) => event.target === dialog.value && close(),
      }, h("div", { class: "dialog-content" }, [
        h("div", { class: "dialog-head" }, [
          h("h2", { id: "dialog-title", dir: "auto" }, t.shareTitle(state.view.room)),
          h("button", {
            type: "button", class: "icon-button", "aria-label": t.close, title: t.close, onClick: close,
          }, icon("close")),
        ]),
        linkPart(t),
        otherPart(t),
      ]));
    };
  },
};
