// Finding what was said, in this room or in all that one may read.

import { ask } from "../doings.js";
import { format, texts } from "../preferences.js";
import { go, jumpTo, now, state } from "../store.js";
import { h, onMounted, ref, shallowRef } from "../vue.js";
import { avatar, choice, iconButton, personName } from "./parts.js";

const PAGE = 30;
const SNIPPET = 240;

export const Search = {
  setup() {
    const text = ref("");
    const scope = ref("here");
    const found = shallowRef(null); // {messages, more, next}: `next` is where the server goes on
    const isBusy = ref(false);
    const field = ref(null);
    let latest = 0;
    onMounted(() => field.value.focus());

    async function search(before = null) {
      const wanted = text.value.trim();
      if (!wanted) return;
      latest += 1;
      const mine = latest;
      isBusy.value = true;
      const frame = { op: "search", text: wanted, limit: PAGE };
      if (scope.value === "here") frame.room = now.room.name;
      if (before !== null) frame.before = before;
      const answer = await ask(frame);
      if (mine !== latest) return;
      isBusy.value = false;
      if (!answer) return;
      const earlier = before === null ? [] : found.value.messages;
      found.value = { messages: [...earlier, ...answer.messages], more: answer.more, next: answer.next };
    }

    const hit = (message) => h("li", { key: `${message.room}/${message.seq}` }, h("button", {
      type: "button", class: "hit", onClick: () => (message.room === now.room.name ? open(message.seq) : go(message.room, { seq: message.seq })),
    }, [
      h("span", { class: "hit-head" }, [
        avatar(message.user, "tiny"), personName(message.user.name),
        message.room === state.view.room ? null : h("bdi", { class: "hit-room" }, `#${message.room}`),
        h("time", { datetime: new Date(message.at * 1000).toISOString() }, format.value.short(message.at)),
      ]),
      h("span", { class: "hit-words", dir: "auto" }, message.text.slice(0, SNIPPET)),
    ]));

    function open(seq) {
      state.drawer = null;
      jumpTo(seq);
    }

    return () => {
      const t = texts.value;
      const isMore = found.value?.more && found.value.next !== undefined;
      return [
        h("div", { class: "side-head" }, [
          h("h2", t.search),
          iconButton("close", t.close, () => (state.isNarrow ? (state.drawer = null) : (state.side = "people"))),
        ]),
        h("form", { class: "search-form", role: "search", onSubmit: (event) => (event.preventDefault(), search()) }, [
          h("div", { class: "field-row" }, [
            h("input", {
              id: "search", ref: field, type: "search", value: text.value, "aria-label": t.searchFor, placeholder: t.searchFor, dir: "auto",
              maxlength: 200, "data-first": "1", onInput: (event) => (text.value = event.target.value),
            }),
            h("button", { type: "submit", class: "primary", disabled: isBusy.value }, t.search),
          ]),
          choice({
            name: "scope", label: t.searchWhere, chosen: scope.value, options: [["here", t.searchHere], ["all", t.searchAll]],
            choose: (value) => ((scope.value = value), search()),
          }),
        ]),
        h("p", { class: "search-count", role: "status" }, found.value ? t.found(found.value.messages.length, found.value.more) : ""),
        h("ul", { class: "hits", tabindex: 0, "aria-label": t.search }, [
          ...(found.value?.messages ?? []).map(hit),
          isMore ? h("li", { key: "more" }, h("button", {
            type: "button", class: "quiet-button", onClick: () => search(found.value.next),
          }, t.moreHits)) : null,
        ]),
      ];
    };
  },
};
