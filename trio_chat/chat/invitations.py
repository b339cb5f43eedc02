"""Invitation links: what stands in their token, and how it is signed.

Owns the token. It is not stored anywhere: the log's secret signs who invites into which room, and until when.
Refuses to know whether that user (still) may invite; who lets somebody in by it asks the room's state.
"""

import base64
import binascii
import hashlib
import hmac

import msgspec

_PURPOSE = b"trio_chat invitation:"
"""So that no other token that the same secret signs passes for one."""


class Invitation(msgspec.Struct, frozen=True, omit_defaults=True):
    """``by``: the id of the user who invites; ``admin``: as an administrator. ``until`` in Unix seconds."""

    room: str
    by: str
    until: int
    admin: bool = False


def token_of(secret: bytes, invitation: Invitation) -> str:
    """The token that `read` turns back into ``invitation``: fit for the fragment or the query of a URL."""
    body = base64.urlsafe_b64encode(msgspec.json.encode(invitation)).rstrip(b"=")
    return f"{body.decode()}.{_signature(secret, body)}"


def read(secret: bytes, token: str) -> Invitation | None:
    """The invitation of a token of ours, or None."""
    body, _, signature = token.encode().partition(b".")
    if not hmac.compare_digest(_signature(secret, body).encode(), signature):
        return None
    try:
        text = base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4))
        return msgspec.json.decode(text, type=Invitation)
    except (binascii.Error, msgspec.MsgspecError):  # pragma: no cover
        return None  # signed, but by a version that wrote something else


def _signature(secret: bytes, body: bytes) -> str:
    digest = hmac.new(secret, _PURPOSE + body, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:18]).decode()
