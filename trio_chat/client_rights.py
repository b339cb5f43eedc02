"""What a client may do to a room and not in it: who is let in, who has which role, how it is.

Owns one method for each of these operations. Refuses to know how a request is sent and answered: a room and a
client, which these methods are part of, do that.
"""

from typing import Literal, TypeVar

from msgspec import UNSET, UnsetType

from .chat import schema

T = TypeVar("T")


def given(value: T | None) -> T | UnsetType:
    """``value`` as a field that is left out if it is None."""
    return UNSET if value is None else value


class RoomRights:
    """Part of `trio_chat.client.Room`.

    Users are named by their ids. Each method returns the ``seq`` of the event that says so, once it is
    stored, waits across reconnects, and raises `ChatError` if the server refuses.
    """

    name: str

    async def change(self, op: schema.Request) -> int:
        """Have a request acknowledged."""
        raise NotImplementedError

    async def invite(self, user: str) -> int:
        """Make ``user`` a member."""
        return await self.change(schema.Invite(room=self.name, user=user))

    async def set_role(self, user: str, role: Literal["owner", "moderator", "member"]) -> int:
        """Give ``user`` another role."""
        return await self.change(schema.ChangeRole(room=self.name, user=user, role=role))

    async def kick(self, user: str, *, reason: str = "") -> int:
        """Remove ``user``, who may come back if the room is public."""
        return await self.change(schema.Kick(room=self.name, user=user, reason=reason or UNSET))

    async def ban(self, user: str, *, reason: str = "", seconds: float | None = None) -> int:
        """Keep ``user`` out, for so many seconds or until `unban`."""
        op = schema.Ban(room=self.name, user=user, reason=reason or UNSET, seconds=given(seconds))
        return await self.change(op)

    async def unban(self, user: str) -> int:
        """Keep ``user`` out no longer."""
        return await self.change(schema.Unban(room=self.name, user=user))

    async def mute(self, user: str, *, seconds: float | None = None) -> int:
        """Take ``user`` their say, for so many seconds or until `unmute`."""
        return await self.change(schema.Mute(room=self.name, user=user, seconds=given(seconds)))

    async def unmute(self, user: str) -> int:
        """Let ``user`` have their say again."""
        return await self.change(schema.Unmute(room=self.name, user=user))

    async def set(
        self,
        *,
        slow_seconds: float | None = None,
        archived: bool | None = None,
        private: bool | None = None,
    ) -> int:
        """Change settings of the room, those that are given."""
        return await self.change(
            schema.ChangeSettings(
                room=self.name,
                slow_seconds=given(slow_seconds),
                archived=given(archived),
                private=given(private),
            )
        )
