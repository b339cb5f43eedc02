// A column beside the log that becomes a drawer over it where there is no space: opening, closing, focus.

import { state } from "../store.js";
import { h, nextTick, onBeforeUnmount, onMounted, ref, watch } from "../vue.js";

const NARROW = "(max-width: 899px)"; // as in css/layout.css

/** Keep `state.isNarrow` right; for the page as a whole, once. */
export function watchWidth() {
  const query = matchMedia(NARROW);
  const onChange = () => Object.assign(state, { isNarrow: query.matches, drawer: null });
  onChange();
  onMounted(() => query.addEventListener("change", onChange));
  onBeforeUnmount(() => query.removeEventListener("change", onChange));
}

/** For a component's setup: `(label, children) => vnodes`. */
export function drawer(name, { isPut = () => false } = {}) {
  const element = ref(null);
  let cameFrom = null;
  watch(() => state.isNarrow && state.drawer === name, async (isOpen) => {
    if (isOpen) cameFrom = document.activeElement;
    await nextTick();
    if (isOpen) (element.value?.querySelector("[data-first]") ?? element.value)?.focus();
    else if (cameFrom?.isConnected) cameFrom.focus();
  });
  const onKeydown = (event) => {
    if (event.key !== "Escape" || !state.isNarrow) return;
    event.stopPropagation();
    state.drawer = null;
  };
  return (label, children) => {
    const isShut = state.isNarrow ? state.drawer !== name : isPut();
    return [
      state.isNarrow && !isShut ? h("div", { class: "shade", onClick: () => (state.drawer = null) }) : null,
      h("aside", { id: name, ref: element, class: ["side", name, { shut: isShut }], inert: isShut, "aria-label": label, onKeydown }, children),
    ];
  };
}
