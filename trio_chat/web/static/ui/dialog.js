// The frame of a dialog: shown over the page, closed by Escape, by its button or beside it.

import { texts } from "../preferences.js";
import { state } from "../store.js";
import { h, onMounted, ref } from "../vue.js";
import { iconButton } from "./parts.js";

export const Dialog = {
  props: { title: { type: String, required: true }, wide: Boolean },
  setup(props, { slots }) {
    const dialog = ref(null);
    onMounted(() => dialog.value.showModal());
    const close = () => dialog.value.close();
    return () => h("dialog", {
      class: ["dialog", { wide: props.wide }],
      ref: dialog,
      "aria-labelledby": "dialog-title",
      onClose: () => (state.dialog = null),
      onClick: (event) => event.target === dialog.value && close(),
    }, h("div", { class: "dialog-content" }, [
      h("div", { class: "dialog-head" }, [
        h("h2", { id: "dialog-title", dir: "auto" }, props.title),
        iconButton("close", texts.value.close, close),
      ]),
      slots.default({ close }),
    ]));
  },
};

/** A labelled field with what is wrong with it. */
export function field({ id, label, error = "", hint = null }, input) {
  return h("div", { class: "field" }, [
    h("label", { for: id }, label),
    input,
    hint,
    error ? h("p", { class: "field-error", id: `${id}-error`, role: "alert" }, error) : null,
  ]);
}
