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
  search: "M10.8 17.300a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13ZM15.5 15.500l4.3 4.3",
  plus: "M12 5v14M5 12h14",
  menu: "M4 6.500h16M4 12h16M4 17.500h16",
  hash: "M9.5 4 7.5 20M16.5 4l-2 16M4.5 9h16M3.5 15h16",
  lock: "M6 10.500h12v9H6zM8.5 10.500V8a3.5 3.5 0 0 1 7 0v2.5",
  archive: "M4 5h16v4H4zM5.5 9v10h13V9M10 13h4",
  gear: "M12 15.200a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.400ZM12 3v2.700M12 18.300V21M3 12h2.700M18.3 12H21M5.6 5.600l1.9 1.900M16.5 16.500l1.9 1.900M5.6 18.400l1.9-1.900M16.5 7.500l1.9-1.9",
  reply: "M9.5 6 4.5 11l5 5M5 11h8.500c3.5 0 6 2.3 6 7",
  edit: "M4.5 19.500h4L19 9l-4-4L4.5 15.500v4ZM13 7l4 4",
  trash: "M5 7h14M9.5 7V4.500h5V7M7 7l.8 12.500h8.400L17 7M10.5 10.500v6M13.5 10.500v6",
  link: "M10 14a4 4 0 0 0 5.7 0l3-3a4 4 0 0 0-5.7-5.700l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3a4 4 0 0 0 5.7 5.700l1-1",
  smile: "M12 20.500a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17ZM8.5 14.200c.8 1.2 2 1.8 3.5 1.800s2.7-.6 3.5-1.800M9.2 9.500v.3M14.8 9.500v.3",
  clip: "M18.5 11.5 12 18a4.2 4.2 0 0 1-6-6l7-7a2.8 2.8 0 0 1 4 4l-6.8 6.800a1.4 1.4 0 0 1-2-2L14 8",
  file: "M6.5 3.500h7l4 4v13h-11zM13.5 3.500v4h4",
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
