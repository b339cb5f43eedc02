// The small dialogs: new room, topic, settings of the page, the sheet of keys, and "are you sure?".

import { SHORTCUTS } from "../core/shortcuts.js";
import { MAX_ROOM, roomName } from "../core/text.js";
import { create, setTopic } from "../doings.js";
import { choose, isDenied, isOn, isPossible } from "../notifications.js";
import { texts } from "../preferences.js";
import { askForName, state } from "../store.js";
import { h, nextTick, ref } from "../vue.js";
import { Dialog, field } from "./dialog.js";
import { choice, languageChoice, personName, themeChoice } from "./parts.js";

const MAX_TOPIC = 250;

export const NewRoom = {
  setup() {
    const name = ref(state.dialog.name ?? "");
    const topic = ref("");
    const kind = ref("public");
    const error = ref("");

    async function submit(close) {
      const room = roomName(name.value);
      error.value = room === null ? texts.value.badRoom : "";
      if (room === null) return;
      error.value = (await create({ room, kind: kind.value, topic: topic.value.trim() })) ?? "";
      if (!error.value) close();
    }

    return () => {
      const t = texts.value;
      return h(Dialog, { title: t.newRoom }, { default: ({ close }) => h("form", {
        class: "dialog-form", onSubmit: (event) => (event.preventDefault(), submit(close)),
      }, [
        field({ id: "new-room", label: t.roomLabel, error: error.value }, h("input", {
          id: "new-room", type: "text", dir: "auto", spellcheck: "false", autocapitalize: "off", autocomplete: "off", maxlength: MAX_ROOM * 2,
          value: name.value, autofocus: true, required: true,
          "aria-invalid": error.value ? "true" : undefined, "aria-describedby": error.value ? "new-room-error" : undefined,
          onInput: (event) => (name.value = event.target.value),
        })),
        choice({
          name: "kind", label: t.whoMayJoin, chosen: kind.value, options: [["public", t.everybody], ["private", t.invitedOnly]],
          choose: (value) => (kind.value = value),
        }),
        field({ id: "new-topic", label: t.topicLabel }, h("input", {
          id: "new-topic", type: "text", dir: "auto", maxlength: MAX_TOPIC, value: topic.value, autocomplete: "off",
          onInput: (event) => (topic.value = event.target.value),
        })),
        h("button", { type: "submit", class: "primary" }, t.create),
      ]) });
    };
  },
};

export const Topic = {
  setup() {
    const text = ref(state.view.topic);
    async function submit(close) {
      if (text.value.trim() === state.view.topic || await setTopic(text.value.trim())) close();
    }
    return () => {
      const t = texts.value;
      return h(Dialog, { title: t.setTopic }, { default: ({ close }) => h("form", {
        class: "dialog-form", onSubmit: (event) => (event.preventDefault(), submit(close)),
      }, [
        field({ id: "topic", label: t.topicLabel }, h("input", {
          id: "topic", type: "text", dir: "auto", maxlength: MAX_TOPIC, value: text.value, autofocus: true, autocomplete: "off",
          onInput: (event) => (text.value = event.target.value),
        })),
        h("button", { type: "submit", class: "primary" }, t.save),
      ]) });
    };
  },
};

export const Settings = {
  setup: () => () => {
    const t = texts.value;
    const { user, isNameFixed } = state.view;
    const hint = isDenied.value ? h("p", { class: "field-hint" }, t.notificationsDenied) : null;
    return h(Dialog, { title: t.settings }, { default: () => h("div", { class: "dialog-form settings" }, [
      user ? h("p", { class: "self-line" }, [
        `${t.youAre} `, h("strong", personName(user.name)),
        isNameFixed
          ? h("span", { class: "self-remark" }, t.signedIn)
          : h("button", { type: "button", class: "quiet-button", onClick: () => askForName() }, t.changeName),
      ]) : null,
      languageChoice(),
      themeChoice(),
      isPossible ? h("div", { class: "field" }, [
        h("label", { class: "check" }, [
          h("input", { type: "checkbox", checked: isOn.value, onChange: async (event) => {
            const { target } = event;
            await choose(target.checked);
            await nextTick();
            target.checked = isOn.value;
          } }),
          h("span", t.notifications),
        ]),
        hint,
      ]) : null,
      h("button", { type: "button", class: "secondary", onClick: () => (state.dialog = { kind: "help" }) }, t.shortcuts),
    ]) });
  },
};

const KEY_NAMES = { ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc", Mod: "Ctrl" };
const keys = (text) => text.split(/\+(?=.)/).map((one) => h("kbd", KEY_NAMES[one] ?? one.replace(/^[a-z]$/, (letter) => letter.toUpperCase())));

export const Help = {
  setup: () => () => {
    const t = texts.value;
    const line = (one, words) => [h("dt", { key: `${words}-keys` }, keys(one)), h("dd", { key: words }, words)];
    return h(Dialog, { title: t.shortcuts, wide: true }, { default: () => [
      h("dl", { class: "keys" }, [
        ...SHORTCUTS.filter(({ name }) => name !== "helpToo").flatMap(({ name, keys: [first] }) => line(first, t.keys[name])),
        ...line("ArrowUp", t.keys.editLast),
      ]),
      h("h3", t.formatting),
      h("p", { class: "field-hint formatting" }, t.formattingHint.map((example) => h("code", example))),
    ] });
  },
};

export const Confirm = {
  setup() {
    const { words, action, run } = state.dialog;
    return () => h(Dialog, { title: action }, { default: ({ close }) => [
      h("p", { dir: "auto" }, words),
      h("div", { class: "dialog-actions" }, [
        h("button", { type: "button", class: "secondary", onClick: close }, texts.value.cancel),
        h("button", { type: "button", class: "primary bad", autofocus: true, onClick: () => (close(), run()) }, action),
      ]),
    ] });
  },
};
