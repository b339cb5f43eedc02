"""The settings' own ways to sign in, as an upgrade handler like any other.

Owns where in an upgrade request a token or a user's name may stand. Refuses to know how a token is verified
(`trio_chat.chat.accounts`) and what happens to whoever is let in.
"""

from .chat.accounts import Accounts
from .chat.tokens import BadToken, signed_in_user
from .config import Config
from .front.address import TrustedProxies
from .front.upgrade import MAX_REASON_BYTES, Accept, Reject, UpgradeHandler, UpgradeRequest

_BEARER = "bearer "


def sign_in(config: Config, accounts: Accounts, proxies: TrustedProxies) -> UpgradeHandler | None:
    """What the settings say about who a client is; None if they say nothing.

    A trusted proxy's word comes first, then a token in the header, then one in the cookie. What is there must
    be right: nobody with an expired token becomes a guest unnoticed. Who brings nothing is let in as nobody.
    """
    if config.user_header is None and not accounts.takes_tokens:
        return None

    async def find_user(request: UpgradeRequest) -> Accept | Reject:
        if config.user_header is not None and proxies.trusts(request.peer):
            names = [name for name in request.headers.get_all(config.user_header) if name.strip()]
            if names:
                return _named(config.user_header, names)
        if accounts.takes_tokens:
            if token := _header_token(config.jwt_header, request):
                return _verified(accounts, token, visibly=False)
            if config.jwt_cookie is not None and (token := request.cookies.get(config.jwt_cookie)):
                return _verified(accounts, token, visibly=True)
        return Accept()

    return find_user


def _named(header: str, values: list[str]) -> Accept | Reject:
    """The user that a trusted proxy names."""
    if len(values) > 1:  # one of them is the client's own, and there is no telling which
        return Reject(400, f"{header}: once, not {len(values)} times")
    try:
        name = values[0].encode("latin-1").decode("utf-8")
        return Accept(user=signed_in_user(name.strip(), name))
    except ValueError as error:  # also what isn't UTF-8
        return Reject(400, f"{header}: {error}")


def _header_token(header: str, request: UpgradeRequest) -> str | None:
    """The token in ``header``; None if there is none, or, in ``Authorization``, something else."""
    value = request.headers.get(header, "").strip()
    if value[: len(_BEARER)].lower() == _BEARER:
        return value[len(_BEARER) :].strip()
    return None if header.lower() == "authorization" else value


def _verified(accounts: Accounts, token: str, *, visibly: bool) -> Accept | Reject:
    try:
        identity = accounts.verify(token)
    except BadToken as error:
        if visibly:  # a browser's, whose page sees no status
            return Reject.visibly(4501, str(error)[:MAX_REASON_BYTES].encode("ascii", "replace").decode())
        return Reject(401, str(error), (("WWW-Authenticate", 'Bearer error="invalid_token"'),))
    return Accept(user=identity.user, expires_at=identity.expires_at, admin=identity.admin)


def guests_let_in(decision: Accept | Reject, accounts: Accounts, request: UpgradeRequest) -> Accept | Reject:
    """``decision``, or a refusal that a page can see where only users may come and this is none.

    Where tokens are taken, the chat's first word may be one: it is let in to say it.
    """
    if isinstance(decision, Reject) or decision.user is not None or accounts.takes_guests:
        return decision
    if accounts.takes_tokens and request.path == "/ws":
        return decision
    return Reject.visibly(4501, "sign in first")
