// The page's own pictures, drawn on a grid of 24 by 24. Decoration: what they mean is said in words beside them.

import { h } from "../vue.js";

const PATHS = {
  people: "M9 11.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM2.5 19.5c.4-3.4 3-5.5 6.5-5.500s6.1 2.1 6.5 5.500M15.8 5.100a3.3 3.3 0 0 1 0 6M17.5 14.600c2.3.7 3.7 2.4 4 4.9",
  share: "M12 3.500v11M8 7.3 12 3.500l4 3.800M5 12.500v6a2 2 0 0 0 2 2h10a2 2 0 0 0 2-2v-6",
  close: "M6 6l12 12M18 6 6 18",
  send: "M4.5 12 4 5.200c0-.8.8-1.3 1.5-1L20 11.100c.8.4.8 1.4 0 1.800L5.5 19.800c-.7.3-1.5-.2-1.5-1L4.5 12Zm0 0H12",
  down: "M12 5v13M6.5 12.8 12 18.300l5.5-5.5",
  clock: "M12 20.500a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17ZM12 7.500V12l3 2",
  check: "M4.5 12.500l5 5 10-11",
  alert: "M12 20.500a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17ZM12 7.800v5M12 16v.2",
  wave: "M4 12h2.500l2-5 3.5 11 3-8 1.5 2H20",
};

export function icon(name) {
  return h("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" }, [
    h("path", { d: PATHS[name] }),
  ]);
}

/** The mark of the service: three voices. */
export function mark() {
  return h("svg", { class: "mark", viewBox: "0 0 32 32", "aria-hidden": "true", focusable: "false" }, [
    h("circle", { class: "mark-a", cx: 16, cy: 10.5, r: 7 }),
    h("circle", { class: "mark-b", cx: 10.5, cy: 20, r: 7 }),
    h("circle", { class: "mark-c", cx: 21.5, cy: 20, r: 7 }),
  ]);
}
