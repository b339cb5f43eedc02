// The first screen: who are you, and into which room?

import { DEFAULT_ROOM } from "../core/address.js";
import { MAX_NAME, MAX_ROOM, roomName, userName } from "../core/text.js";
import { texts } from "../preferences.js";
import { enter, state } from "../store.js";
import { h, nextTick, onMounted, ref } from "../vue.js";
import { mark } from "./icons.js";
import { languageChoice, themeChoice } from "./parts.js";

function field({ id, label, input, error }) {
  return h("div", { class: "field" }, [
    h("label", { for: id }, label),
    input,
    error ? h("p", { class: "field-error", id: `${id}-error`, role: "alert" }, error) : null,
  ]);
}

export const StartScreen = {
  setup() {
    const name = ref(state.start.name);
    const room = ref(state.start.room || DEFAULT_ROOM);
    const wrong = ref(state.start.wrong); // fields: "name", "room"
    const nameInput = ref(null);
    const roomInput = ref(null);
    const focus = () => (wrong.value[0] === "room" ? roomInput : nameInput).value.focus();
    onMounted(focus);

    async function submit(event) {
      event.preventDefault();
      const goodName = userName(name.value);
      const goodRoom = roomName(room.value || DEFAULT_ROOM);
      wrong.value = [goodName === null && "name", goodRoom === null && "room"].filter(Boolean);
      if (wrong.value.length === 0) {
        enter(goodName, goodRoom);
        return;
      }
      await nextTick();
      focus();
    }

    function input(id, model, element, attributes) {
      const isWrong = wrong.value.includes(id);
      return h("input", {
        id,
        ref: element,
        type: "text",
        dir: "auto",
        spellcheck: "false",
        autocapitalize: "off",
        value: model.value,
        "aria-invalid": isWrong ? "true" : undefined,
        "aria-describedby": isWrong ? `${id}-error` : undefined,
        onInput: (event) => (model.value = event.target.value),
        ...attributes,
      });
    }

    return () => {
      const t = texts.value;
      const nameField = input("name", name, nameInput, {
        placeholder: t.namePlaceholder, autocomplete: "nickname", maxlength: MAX_NAME * 2, required: true,
      });
      const roomField = input("room", room, roomInput, {
        placeholder: DEFAULT_ROOM, autocomplete: "off", maxlength: MAX_ROOM * 2,
      });
      return h("main", { class: "start" }, [
        h("form", { class: "card", novalidate: true, onSubmit: submit }, [
          mark(),
          h("h1", t.title),
          h("p", { class: "tagline" }, t.tagline),
          state.start.error ? h("p", { class: "form-error", role: "alert" }, state.start.error) : null,
          field({ id: "name", label: t.yourName, input: nameField, error: wrong.value.includes("name") ? t.badName : "" }),
          field({ id: "room", label: t.roomLabel, input: roomField, error: wrong.value.includes("room") ? t.badRoom : "" }),
          h("button", { class: "primary", type: "submit" }, t.enter),
        ]),
        h("footer", { class: "start-settings" }, [languageChoice(), themeChoice()]),
      ]);
    };
  },
};
