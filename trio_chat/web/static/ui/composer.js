// Where messages are written.
//
// Enter sends, Shift+Enter begins a line, and an Enter that only ends the composing of characters does neither.

import { messageText } from "../core/text.js";
import { texts } from "../preferences.js";
import { draft, isTooLong, say, state, typing } from "../store.js";
import { h, onMounted, ref } from "../vue.js";
import { icon } from "./icons.js";

const MAX_HEIGHT = 200; // pixels; a longer text scrolls
const WARN_CHARS = 200; // the count is shown when so few are left
const COMPOSING = 229; // the key code that some browsers send while characters are composed

export const Composer = {
  emits: ["sent"],
  setup(_, { emit }) {
    const box = ref(null);
    const text = ref(draft.get());

    function fit() {
      const { style } = box.value;
      style.height = "auto";
      style.height = `${Math.min(box.value.scrollHeight, MAX_HEIGHT)}px`;
    }

    function write(value) {
      text.value = value;
      draft.set(value);
      if (messageText(value)) typing();
      fit();
    }

    function send() {
      if (!say(text.value)) return;
      box.value.value = "";
      write("");
      emit("sent");
      box.value.focus();
    }

    function onKeydown(event) {
      const isPlainEnter = event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey;
      if (!isPlainEnter || event.isComposing || event.keyCode === COMPOSING) return;
      event.preventDefault();
      send();
    }

    onMounted(() => {
      fit();
      if (matchMedia("(pointer: fine)").matches) box.value.focus();
    });

    function remark(t) {
      if (isTooLong(text.value)) return h("p", { class: "composer-remark bad", role: "alert" }, t.tooLong);
      const left = state.view.limits.max_text_chars - [...text.value].length;
      return left <= WARN_CHARS ? h("p", { class: "composer-remark" }, t.charactersLeft(left)) : null;
    }

    return () => {
      const t = texts.value;
      const isEmpty = !messageText(text.value);
      return h("form", { class: "composer", onSubmit: (event) => (event.preventDefault(), send()) }, [
        remark(t),
        h("div", { class: "composer-box" }, [
          h("textarea", {
            id: "write",
            ref: box,
            rows: 1,
            dir: "auto",
            value: text.value,
            placeholder: t.write(state.view.room),
            "aria-label": t.write(state.view.room),
            "aria-describedby": "write-hint",
            enterkeyhint: "send",
            onInput: (event) => write(event.target.value),
            onKeydown,
          }),
          h("button", {
            type: "submit", class: "send", "aria-label": t.send, title: t.send, disabled: isEmpty || isTooLong(text.value),
          }, icon("send")),
        ]),
        h("p", { class: "composer-hint", id: "write-hint" }, t.writeHint),
      ]);
    };
  },
};
