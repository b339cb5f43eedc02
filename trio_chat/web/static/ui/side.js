// What is beside the log on the far side: the people, or the search.

import { texts } from "../preferences.js";
import { state } from "../store.js";
import { h } from "../vue.js";
import { drawer } from "./drawer.js";
import { People } from "./people.js";
import { Search } from "./search.js";

export const Side = {
  setup() {
    const box = drawer("people", { isPut: () => state.side === null });
    return () => {
      const t = texts.value;
      const isSearch = state.side === "search";
      return box(isSearch ? t.search : t.people, [h(isSearch ? Search : People)]);
    };
  },
};

/** Show or put away; on a narrow screen it is a drawer. */
export function toggleSide(what) {
  if (state.isNarrow) {
    const isOpen = state.drawer === "people" && state.side === what;
    state.side = what;
    state.drawer = isOpen ? null : "people";
  } else {
    state.side = state.side === what ? (what === "search" ? "people" : null) : what;
  }
}
