"""What Redis runs of the Redis log: Lua scripts, each of them one atomic step, and the names of the keys.

A script touches the keys of one room, which share a hash tag: that is what Redis Cluster asks for. The keys:

- ``trio_chat:{ROOM}:events``: a stream, one entry for each event. Its id is ``SEQ-AT_MS``; its fields are
  kind and body, ``=`` and the idempotency key if there is one, ``@`` and the target if there is one.
- ``trio_chat:{ROOM}:keys``: a hash, from idempotency key to ``SEQ-AT_MS``.
- ``trio_chat:{ROOM}:about``: a sorted set of target and seq, 16 digits each, of the events with a target.
- ``trio_chat:{ROOM}``: a hash with ``epoch``, ``head``, ``first``, ``at`` (of the last event), ``state``
  (of what was trimmed), and of the room's listing ``label`` and ``hidden``.
- ``trio_chat:{ROOM}:users``: a set of all users that a listing of the room has named.
- ``trio_chat:{ROOM}:nodes``: a hash, from node to what it announces of the room.
- ``trio_chat:log``: a hash with the log's ``epoch`` and ``secret``.
- ``trio_chat:rooms`` and ``trio_chat:names``: sorted sets, of all rooms that are not hidden by last
  activity, and of all rooms by name.
- ``trio_chat:of:USER``: a set of the rooms that have named this user.
- ``trio_chat:marks:USER``: a hash, from room to the seq that this user has read up to.
- ``trio_chat:node:NODE``: there as long as the node is.

A room's channel is ``trio_chat:DB:{ROOM}``, because Redis has the same channels for all its databases. A
notice on it is the 16 characters of the node that it comes from and a MessagePack array that begins with one
of the ``NOTICE_*``.
"""

import hashlib
from typing import Final

import attrs

PREFIX: Final = "trio_chat"
LOG_KEY: Final = f"{PREFIX}:log"
ROOMS_KEY: Final = f"{PREFIX}:rooms"
NAMES_KEY: Final = f"{PREFIX}:names"

NOTICE_EVENTS: Final = 1
"""``first``, ``at_ms``, and kind and body of each event."""
NOTICE_TRIMMED: Final = 2
"""``first``."""
NOTICE_RENEWED: Final = 3
"""The new epoch."""
NOTICE_SIGNAL: Final = 4
"""Bytes that mean something to the nodes."""
NOTICE_ANNOUNCED: Final = 5
"""Bytes; none: the node has nothing to announce of the room any more."""

NOTICE_REMOVED: Final = 6
"""A node, whose announcement was removed because it seemed to be dead."""

MAX_SCANNED: Final = 2000
"""Entries that one call of `READ` looks at: some 2 ms of Redis, in which nobody else is served."""


def room_key(room: str) -> str:
    """The hash with what is known of a room."""
    return f"{PREFIX}:{{{room}}}"


def events_key(room: str) -> str:
    """The stream of a room's events."""
    return f"{PREFIX}:{{{room}}}:events"


def keys_key(room: str) -> str:
    """The hash of a room's idempotency keys."""
    return f"{PREFIX}:{{{room}}}:keys"


def about_key(room: str) -> str:
    """The sorted set of a room's events that are about others."""
    return f"{PREFIX}:{{{room}}}:about"


def users_key(room: str) -> str:
    """The set of users that a room's listings have named."""
    return f"{PREFIX}:{{{room}}}:users"


def keys_of(room: str) -> tuple[str, ...]:
    """The keys of `APPEND` and `TRIM`."""
    return room_key(room), events_key(room), keys_key(room), about_key(room), users_key(room)


def rooms_of_key(user: str) -> str:
    """The set of rooms that have named a user."""
    return f"{PREFIX}:of:{user}"


def marks_key(user: str) -> str:
    """The hash of a user's read marks."""
    return f"{PREFIX}:marks:{user}"


def nodes_key(room: str) -> str:
    """The hash of what nodes announce of a room."""
    return f"{PREFIX}:{{{room}}}:nodes"


def node_key(node: str) -> str:
    """The key that is there as long as a node is."""
    return f"{PREFIX}:node:{node}"


@attrs.frozen
class Script:
    """One script: its text, and the digest that Redis knows it by."""

    text: str
    digest: str = attrs.field(init=False)

    @digest.default
    def _digest(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


APPEND: Final = Script("""
-- KEYS: room, events, keys, about, users. ARGV: node, publish command, channel, now in ms, epoch for a room
-- without one, epoch and head that the node knows, then of each event kind, body, key ('-': none, else '='
-- and the key), target and listing ('': none).
-- Returns 1, '1' if the room is hidden, and for each event 'SEQ-AT' or 'dSEQ-AT' for a duplicate; or 0 if the
-- room isn't the known one.
local room = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'hidden', 'at')
local head = tonumber(room[2] or 0)
if head < tonumber(ARGV[7]) or (room[1] and ARGV[6] ~= '' and room[1] ~= ARGV[6]) then
    return {0}
end
local at = math.max(tonumber(ARGV[4]), tonumber(room[4] or 0))
local seen, fresh, answer, notice = {}, {}, {1, room[3] or '0'}, {1, head + 1, at}
local wanted = {}
for i = 8, #ARGV, 5 do
    if string.sub(ARGV[i + 2], 1, 1) == '=' then wanted[#wanted + 1] = string.sub(ARGV[i + 2], 2) end
end
for i = 1, #wanted, 1000 do
    local last = math.min(i + 999, #wanted)
    local found = redis.call('HMGET', KEYS[3], unpack(wanted, i, last))
    for j = i, last do seen[wanted[j]] = found[j - i + 1] end
end
for i = 8, #ARGV, 5 do
    local key = string.sub(ARGV[i + 2], 1, 1) == '=' and string.sub(ARGV[i + 2], 2)
    if key and seen[key] then
        answer[#answer + 1] = 'd' .. seen[key]
    else
        head = head + 1
        local id = string.format('%.0f-%.0f', head, at)
        local entry = {ARGV[i], ARGV[i + 1]}
        if key then
            entry[3], entry[4] = '=', key
            seen[key] = id
            fresh[#fresh + 1] = key
            fresh[#fresh + 1] = id
        end
        if ARGV[i + 3] ~= '' then
            entry[#entry + 1] = '@'
            entry[#entry + 1] = ARGV[i + 3]
            redis.call('ZADD', KEYS[4], 0, string.format('%016.0f%016.0f', tonumber(ARGV[i + 3]), head))
        end
        redis.call('XADD', KEYS[2], id, unpack(entry))
        if ARGV[i + 4] ~= '' then
            local listing = cmsgpack.unpack(ARGV[i + 4])
            answer[2] = listing[2] and '1' or '0'
            redis.call('HSET', KEYS[1], 'label', listing[1], 'hidden', answer[2])
            for _, user in ipairs(listing[3]) do redis.call('SADD', KEYS[5], user) end
        end
        notice[#notice + 1] = ARGV[i]
        notice[#notice + 1] = ARGV[i + 1]
        answer[#answer + 1] = id
    end
end
for i = 1, #fresh, 1000 do
    redis.call('HSET', KEYS[3], unpack(fresh, i, math.min(i + 999, #fresh)))
end
if #notice > 3 then
    redis.call('HSET', KEYS[1], 'head', string.format('%.0f', head), 'at', string.format('%.0f', at))
    redis.call('HSETNX', KEYS[1], 'epoch', ARGV[5])
    redis.call('HSETNX', KEYS[1], 'first', '1')
    redis.call(ARGV[2], ARGV[3], ARGV[1] .. cmsgpack.pack(notice))
end
return answer
""")

READ: Final = Script("""
-- KEYS: events. ARGV: '+' or '-' (the direction), the first seq to look at, how many events, how many bytes
-- of bodies, how many entries to look at; then the kinds, none for all.
-- Returns the seq that it got to (0: to the end), then id, kind, body, target ('': none) of each event.
local forward, seq, limit, bytes, budget = ARGV[1] == '+', ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]),
    tonumber(ARGV[5])
local kinds = #ARGV > 5 and {}
for i = 6, #ARGV do kinds[ARGV[i]] = true end
local answer, taken = {'0'}, 0
while budget > 0 do
    local count = math.min(64, budget)
    if not kinds then count = math.min(count, limit - taken) end
    local entries
    if forward then
        entries = redis.call('XRANGE', KEYS[1], seq, '+', 'COUNT', count)
    else
        entries = redis.call('XREVRANGE', KEYS[1], seq, '-', 'COUNT', count)
    end
    budget = budget - count
    local last
    for _, entry in ipairs(entries) do
        last = entry[1]
        if not kinds or kinds[entry[2][1]] then
            bytes = bytes - #entry[2][2]
            if taken > 0 and bytes < 0 then return answer end
            taken = taken + 1
            answer[#answer + 1] = entry[1]
            answer[#answer + 1] = entry[2][1]
            answer[#answer + 1] = entry[2][2]
            answer[#answer + 1] = entry[2][3] == '@' and entry[2][4] or entry[2][6] or ''
            if taken >= limit then return answer end
        end
    end
    if #entries < count then return answer end
    local at = tonumber(string.match(last, '^%d+'))
    seq = string.format('%.0f', forward and at + 1 or at - 1)
    if seq == '0' then return answer end
end
answer[1] = seq
return answer
""")

TRIM: Final = Script("""
-- KEYS: room, events, keys, about. ARGV: node, publish command, channel, through, limit. Returns first as
-- it is now.
local room = redis.call('HMGET', KEYS[1], 'first', 'head')
local first, head = tonumber(room[1] or 1), tonumber(room[2] or 0)
local through = math.min(tonumber(ARGV[4]), head, first + tonumber(ARGV[5]) - 1)
if through < first then return first end
local going = redis.call('XRANGE', KEYS[2], '-', string.format('%.0f', through))
local keys = {}
for _, entry in ipairs(going) do
    local fields = entry[2]
    if fields[3] == '=' then keys[#keys + 1] = fields[4] end
    local target = fields[3] == '@' and fields[4] or fields[6]
    if target then
        local seq = tonumber(string.match(entry[1], '^%d+'))
        redis.call('ZREM', KEYS[4], string.format('%016.0f%016.0f', tonumber(target), seq))
    end
end
local first_now = string.format('%.0f', through + 1)
redis.call('XTRIM', KEYS[2], 'MINID', '=', first_now)
for i = 1, #keys, 1000 do
    redis.call('HDEL', KEYS[3], unpack(keys, i, math.min(i + 999, #keys)))
end
redis.call('HSET', KEYS[1], 'first', first_now)
if ARGV[6] ~= '-' then redis.call('HSET', KEYS[1], 'state', string.sub(ARGV[6], 2)) end
redis.call(ARGV[2], ARGV[3], ARGV[1] .. cmsgpack.pack({2, through + 1}))
return through + 1
""")

CHECK: Final = Script("""
-- Whether a room is the one that a node knows, and its position. If it has gone back (its Redis has lost the
-- last events, or all), it gets a new epoch.
-- KEYS: room, events. ARGV: node, publish command, channel, the log's epoch, the known epoch, head and time
-- of the head ('0': not known), an epoch to be. Returns 1 if it is (else 0), epoch, head, first, at, state.
local room = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'first', 'at', 'state')
local head, known = tonumber(room[2] or 0), tonumber(ARGV[6])
local epoch, same = room[1] or ARGV[4], 1
if epoch ~= ARGV[5] then
    same = 0
else
    local back = head < known
    if not back and known > 0 and ARGV[7] ~= '0' then
        local entry = redis.call('XRANGE', KEYS[2], ARGV[6], ARGV[6])[1]
        back = entry and string.match(entry[1], '%d+$') ~= ARGV[7]
    end
    if back then
        same, epoch = 0, ARGV[8]
        redis.call('HSET', KEYS[1], 'epoch', epoch)
        redis.call(ARGV[2], ARGV[3], ARGV[1] .. cmsgpack.pack({3, epoch}))
    end
end
return {same, epoch, string.format('%.0f', head), room[3] or '1', room[4] or '0', room[5]}
""")

KEPT: Final = Script("""
-- KEYS: room, events. Returns first, head and the time of first, or nothing if no event is kept.
local entry = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if not entry then return {} end
local room = redis.call('HMGET', KEYS[1], 'first', 'head')
return {room[1], room[2], string.match(entry[1], '%d+$')}
""")

ABOUT: Final = Script("""
-- KEYS: events, about. ARGV: where to begin and to end in about, how many events, how many bytes of bodies.
-- Returns id, kind, body, target of each event.
local answer, bytes = {}, tonumber(ARGV[4])
for _, member in ipairs(redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])) do
    local seq = string.format('%.0f', tonumber(string.sub(member, 17)))
    local entry = redis.call('XRANGE', KEYS[1], seq, seq)[1]
    bytes = bytes - #entry[2][2]
    if #answer > 0 and bytes < 0 then return answer end
    answer[#answer + 1] = entry[1]
    answer[#answer + 1] = entry[2][1]
    answer[#answer + 1] = entry[2][2]
    answer[#answer + 1] = string.format('%.0f', tonumber(string.sub(member, 1, 16)))
end
return answer
""")

MARK: Final = Script("""
-- KEYS: marks. ARGV: room, seq, ...: moves forward those that are further on.
for i = 1, #ARGV, 2 do
    local before = redis.call('HGET', KEYS[1], ARGV[i])
    if not before or tonumber(before) < tonumber(ARGV[i + 1]) then
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
end
return 1
""")

UNREAD: Final = Script("""
-- Counts messages. KEYS: events. ARGV: the first seq to look at, how many messages and how many entries to
-- look at, how the bodies of one's own begin, then the strings that name one.
-- Returns the seq that it got to (0: to the end), how many messages it looked at, how many count, how many
-- name.
local seq, limit, budget, own = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local looked, count, naming = 0, 0, 0
while budget > 0 do
    local entries = redis.call('XRANGE', KEYS[1], seq, '+', 'COUNT', 64)
    budget = budget - 64
    for _, entry in ipairs(entries) do
        if entry[2][1] == 'message' then
            if looked >= limit then return {'0', looked, count, naming} end
            looked = looked + 1
            local body = entry[2][2]
            if string.sub(body, 1, #own) ~= own then
                count = count + 1
                for i = 5, #ARGV do
                    if string.find(body, ARGV[i], 1, true) then naming = naming + 1 break end
                end
            end
        end
        seq = entry[1]
    end
    if #entries < 64 then return {'0', looked, count, naming} end
    seq = string.format('%.0f', tonumber(string.match(seq, '^%d+')) + 1)
end
return {seq, looked, count, naming}
""")

ALL_SCRIPTS: Final = (APPEND, READ, TRIM, CHECK, KEPT, ABOUT, MARK, UNREAD)
