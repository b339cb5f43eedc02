// The rooms beside the log: which, in which group, in which order, with which counts.
//
// Owns that choice. Pure: takes the open rooms and the server's list, gives plain data. An open room counts for
// itself, because the server's list is older.

export const MAX_OTHERS = 200; // public rooms that are listed; a search field finds the rest

/** What a direct room is called: the other one. */
function titleOf(name, info, room, isMine) {
  if (info?.kind !== "direct" && room?.standing.kind !== "direct") return name;
  const other = info?.with ?? [...(room?.people.members.values() ?? [])].find((user) => !isMine(user));
  return other?.name ?? name;
}

function entry(name, info, room, isMine) {
  const kind = room?.isJoined ? room.standing.kind : (info?.kind ?? "public");
  const isDirect = kind === "direct" || info?.kind === "direct";
  const unread = (room?.isJoined ? room.unread : info?.unread) ?? 0;
  return {
    name,
    kind: isDirect ? "direct" : kind,
    title: titleOf(name, info, room, isMine),
    with: info?.with ?? null,
    count: room?.isJoined ? room.people.count : (info?.count ?? 0),
    topic: (room ? room.topic : info?.topic) ?? "",
    unread,
    mentions: (room?.isJoined ? room.mentions : info?.mentions) ?? 0,
    isOpen: room !== undefined,
    isArchived: room?.isJoined ? room.standing.archived : (info?.archived ?? false),
    isRefused: Boolean(room?.error),
  };
}

/** `{mine, direct, others}`: entries in the order in which they are shown. */
export function listRooms({ rooms, list, isMine, compare }) {
  const infos = new Map(list.map((info) => [info.room, info]));
  const names = new Set([...rooms.keys(), ...infos.keys()]);
  const all = [...names].map((name) => entry(name, infos.get(name), rooms.get(name), isMine));
  const isMineToo = ({ name, isOpen, kind }) => isOpen || kind === "private" || infos.get(name)?.read !== undefined;
  const byTitle = (one, other) => compare(one.title, other.title);
  const shared = all.filter(({ kind }) => kind !== "direct");
  return {
    mine: shared.filter(isMineToo).sort(byTitle),
    direct: all.filter(({ kind }) => kind === "direct").sort(byTitle),
    others: shared.filter((one) => !isMineToo(one) && !one.isArchived)
      .sort((one, other) => other.count - one.count || byTitle(one, other)).slice(0, MAX_OTHERS),
  };
}

/** The room before (-1) or after (1) `name` in the order of the screen; with `unread`, the next that has any. */
export function neighbour({ mine, direct }, name, step, { unread = false } = {}) {
  const order = [...mine, ...direct];
  const start = order.findIndex((one) => one.name === name);
  for (let count = 1; count <= order.length; count += 1) {
    const one = order[(start + step * count + order.length * (count + 1)) % order.length];
    if (one.name !== name && (!unread || one.unread > 0)) return one.name;
  }
  return null;
}
