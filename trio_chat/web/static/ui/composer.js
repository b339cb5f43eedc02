// Where messages are written.
//
// Enter sends, Shift+Enter begins a line, an Enter that only ends the composing of characters does neither; the up
// arrow in an empty box takes up the last message of mine. Files are picked, dropped on the room, or pasted.

import { messageText } from "../core/text.js";
import { draft, editLast, isTooLong, say, typing } from "../doings.js";
import { texts } from "../preferences.js";
import { state, write } from "../store.js";
import { h, nextTick, onMounted, ref, watch } from "../vue.js";
import { completion } from "./completion.js";
import { sizeOf } from "./files.js";
import { icon } from "./icons.js";
import { iconButton, personName } from "./parts.js";
import { drop, mayUpload, upload } from "./uploads.js";

const MAX_HEIGHT = 200; // pixels; a longer text scrolls
const WARN_CHARS = 200; // the count is shown when so few are left
const COMPOSING = 229; // the key code that some browsers send while characters are composed

function about({ reply, editing }, t) {
  if (!reply && !editing) return null;
  const cancel = () => write({ reply: null, editing: null });
  return h("div", { class: "composer-about" }, [
    icon(editing ? "edit" : "reply"),
    h("span", { class: "composer-about-words" }, editing ? t.editing : [t.replyingTo, " ", h("strong", personName(reply.user.name)), ": ", h("bdi", reply.text.slice(0, 120))]),
    iconButton("close", t.cancel, cancel),
  ]);
}

function attached(files, t) {
  if (files.length === 0) return null;
  return h("ul", { class: "composer-files", "aria-label": t.files }, files.map((file) => h("li", { key: file.key }, [
    icon("file"),
    h("bdi", { class: "file-name" }, file.name),
    h("span", { class: "file-size" }, sizeOf(file.size)),
    file.hash ? icon("check") : h("progress", { max: 1, value: file.progress, "aria-label": t.uploading(file.name) }),
    iconButton("close", t.removeFile(file.name), () => drop(file.key)),
  ])));
}

/** Why nothing can be written here, or null. */
function forbidden({ standing, isJoined }, t) {
  if (!isJoined) return null;
  if (standing.archived) return t.isArchived;
  if (standing.isMuted(Date.now() / 1000)) return t.isMuted;
  return standing.may("write") ? null : t.mayNotWrite;
}

export const Composer = {
  emits: ["sent"],
  setup(_, { emit }) {
    const box = ref(null);
    const picker = ref(null);
    const text = ref(draft.get());
    const proposed = completion(async (value, caret) => {
      put(value);
      await nextTick();
      box.value.setSelectionRange(caret, caret);
    });

    function fit() {
      if (!box.value) return;
      const { style } = box.value;
      style.height = "auto";
      style.height = `${Math.min(box.value.scrollHeight, MAX_HEIGHT)}px`;
    }

    function put(value) {
      box.value.value = value;
      text.value = value;
      if (!state.writing.editing) draft.set(value);
      fit();
      box.value.focus();
    }

    function onInput({ target }) {
      text.value = target.value;
      if (!state.writing.editing) draft.set(target.value);
      if (messageText(target.value)) typing();
      proposed.update(target.value, target.selectionStart);
      fit();
    }

    function send() {
      const wasEditing = state.writing.editing !== null;
      if (!say(text.value)) return;
      proposed.close();
      put(wasEditing ? draft.get() : "");
      if (!wasEditing) emit("sent");
    }

    function onKeydown(event) {
      if (event.isComposing || event.keyCode === COMPOSING || proposed.onKeydown(event, box.value)) return;
      const isPlain = !event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey;
      if (event.key === "Enter" && isPlain) {
        event.preventDefault();
        send();
      } else if (event.key === "ArrowUp" && isPlain && !text.value) {
        if (editLast()) event.preventDefault();
      } else if (event.key === "Escape" && (state.writing.editing || state.writing.reply)) {
        event.stopPropagation();
        write({ editing: null, reply: null });
      }
    }

    function onPaste(event) {
      const { files } = event.clipboardData;
      if (files.length === 0 || !mayUpload()) return;
      event.preventDefault();
      upload(files);
    }

    onMounted(() => {
      fit();
      if (matchMedia("(pointer: fine)").matches) box.value?.focus();
    });
    watch(() => state.writing?.editing, (editing, before) => {
      if (editing) put(editing.text);
      else if (before) put(draft.get());
    });
    watch(() => state.writing?.reply, (reply) => reply && box.value?.focus());
    watch(() => state.insert, (insert) => {
      if (!insert || !box.value) return;
      const before = text.value && !/\s$/.test(text.value) ? `${text.value} ` : text.value;
      put(before + insert.text);
    });

    function remark(t) {
      if (isTooLong(text.value)) return h("p", { class: "composer-remark bad", role: "alert" }, t.tooLong);
      const left = state.view.limits.max_text_chars - [...text.value].length;
      if (left <= WARN_CHARS) return h("p", { class: "composer-remark" }, t.charactersLeft(left));
      return state.view.standing.slow > 0 ? h("p", { class: "composer-remark" }, t.slowMode(state.view.standing.slow)) : null;
    }

    const pickFiles = (t) => [
      h("input", {
        type: "file", multiple: true, hidden: true, ref: picker,
        onChange: ({ target }) => (upload(target.files), (target.value = "")),
      }),
      iconButton("clip", t.attach, () => picker.value.click(), { class: "icon-button attach" }),
    ];

    const pickEmoji = (event) => (state.popover = {
      kind: "emoji", rect: event.currentTarget.getBoundingClientRect(), pick: (emoji) => put(text.value + emoji),
    });

    return () => {
      const t = texts.value;
      const { title, standing } = state.view;
      const why = forbidden(state.view, t);
      if (why) return h("p", { class: "composer-closed", role: "status" }, why);
      const label = standing.kind === "direct" ? t.writeTo(title) : t.write(title);
      const isNothing = !messageText(text.value) && !state.writing.files.length && !state.writing.editing;
      return h("form", { class: "composer", onSubmit: (event) => (event.preventDefault(), send()) }, [
        proposed.list(box),
        remark(t),
        h("div", { class: "composer-box" }, [
          about(state.writing, t),
          attached(state.writing.files, t),
          h("div", { class: "composer-line" }, [
            ...(mayUpload() ? pickFiles(t) : []),
            h("textarea", {
              id: "write", ref: box, rows: 1, dir: "auto", value: text.value, placeholder: label, "aria-label": label,
              "aria-describedby": "write-hint", enterkeyhint: "send", ...proposed.attributes(),
              onInput, onKeydown, onPaste, onBlur: proposed.close,
            }),
            iconButton("smile", t.emoji, pickEmoji, { class: "icon-button emoji-button", "aria-haspopup": "dialog" }),
            h("button", {
              type: "submit", class: "send", "aria-label": t.send, title: t.send, disabled: isNothing || isTooLong(text.value),
            }, icon("send")),
          ]),
        ]),
        h("p", { class: "composer-hint", id: "write-hint" }, t.writeHint),
      ]);
    };
  },
};
