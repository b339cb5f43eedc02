// Which keys do what: one table, for the page that obeys it and for the sheet that shows it.
//
// Owns the table and the comparison with a key event. `where`: "anywhere", or "outside" of fields where one writes, or
// "message" when one is chosen in the log.

export const SHORTCUTS = [
  { name: "help", keys: ["?"], where: "outside" },
  { name: "helpToo", keys: ["Mod+/"], where: "anywhere" },
  { name: "findRoom", keys: ["Mod+k"], where: "anywhere" },
  { name: "search", keys: ["/"], where: "outside" },
  { name: "previousRoom", keys: ["Alt+ArrowUp"], where: "anywhere" },
  { name: "nextRoom", keys: ["Alt+ArrowDown"], where: "anywhere" },
  { name: "nextUnread", keys: ["Alt+Shift+ArrowDown"], where: "anywhere" },
  { name: "write", keys: ["w"], where: "outside" },
  { name: "latest", keys: ["Escape"], where: "outside" },
  { name: "messageUp", keys: ["ArrowUp", "k"], where: "message" },
  { name: "messageDown", keys: ["ArrowDown", "j"], where: "message" },
  { name: "reply", keys: ["r"], where: "message" },
  { name: "edit", keys: ["e"], where: "message" },
  { name: "react", keys: ["+"], where: "message" },
  { name: "remove", keys: ["Delete"], where: "message" },
];

/** A key event as it is written in the table. */
export function keyOf({ key, ctrlKey, metaKey, altKey, shiftKey }) {
  const isNamed = key.length > 1; // a character says by itself whether Shift was pressed
  const modifiers = [(ctrlKey || metaKey) && "Mod", altKey && "Alt", shiftKey && isNamed && "Shift"].filter(Boolean);
  return [...modifiers, key.length === 1 && modifiers.length > 0 ? key.toLowerCase() : key].join("+");
}

/** What an event asks for among those that count here, or null. */
export function shortcut(event, where) {
  const pressed = keyOf(event);
  return SHORTCUTS.find((one) => where.includes(one.where) && one.keys.includes(pressed))?.name ?? null;
}
