// What can be done with a person: a menu at their name.

import { ban, direct, kick, mute, setRole, unmute } from "../doings.js";
import { texts } from "../preferences.js";
import { isMine, state } from "../store.js";

const HOUR = 3600;

export function openPerson(event, user) {
  const rect = event.currentTarget.getBoundingClientRect();
  const items = itemsFor(user);
  if (items.length > 0) state.popover = { kind: "menu", rect, title: user.name, items };
}

function itemsFor(user) {
  const t = texts.value;
  if (isMine(user)) return [];
  const { standing, operations } = state.view;
  const lacks = (operation) => operations !== null && !operations.has(operation);
  const role = standing.roleOf(user);
  const sure = (words, action, run) => () => (state.dialog = { kind: "confirm", words, action, run });
  const can = (what, operation) => !lacks(operation) && standing.may(what, user);
  return [
    !lacks("direct") && { label: t.messageTo(user.name), run: () => direct(user) },
    { label: t.mention(user.name), run: () => (state.insert = { text: `@${user.name} ` }) },
    can("roles", "role") && role !== "moderator" && { label: t.makeModerator, run: () => setRole(user, "moderator") },
    can("roles", "role") && role === "moderator" && { label: t.makeMember, run: () => setRole(user, "member") },
    can("roles", "role") && { label: t.makeOwner, run: sure(t.makeOwnerSure(user.name), t.makeOwner, () => setRole(user, "owner")) },
    can("moderate", "mute") && { label: t.mute, run: () => mute(user, HOUR) },
    can("moderate", "unmute") && { label: t.unmute, run: () => unmute(user) },
    can("moderate", "kick") && { label: t.kick, isDanger: true, run: sure(t.kickSure(user.name), t.kick, () => kick(user)) },
    can("moderate", "ban") && { label: t.ban, isDanger: true, run: sure(t.banSure(user.name), t.ban, () => ban(user)) },
  ].filter(Boolean);
}
