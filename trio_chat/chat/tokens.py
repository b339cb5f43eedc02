"""Signed tokens (JSON Web Tokens, RFC 7519): which keys count, and who a token says somebody is.

Owns the keys and the checks. Refuses to know how a token came here. PyJWT (the extra ``jwt``) is imported
when a key is configured, and by nobody else.

Rules: a key's type decides which algorithms it may verify, so a public key never passes for a secret, and
``none`` is no algorithm; a token without an end is refused; time is the server's clock.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from ..config import Config, ConfigError
from .guests import GUEST
from .schema import User, checked_user, short_name

MAX_TOKEN_CHARS: Final = 8192
"""Of a token: twice what fits into a cookie. What it costs to decode grows with this; the signature takes
some 0.1 ms, or 0.5 ms with P-384."""
CLOCK_SKEW_SECONDS: Final = 60.0
"""How far the issuer's clock may be ahead: a token is taken so long before its ``nbf``."""
MIN_SECRET_BYTES: Final = 32
MIN_RSA_BITS: Final = 2048
"""RFC 7518 sections 3.2 and 3.3: a secret as long as the hash; RSA keys of 2048 bits."""
_ALLOWED_KEYS = "jwt_key: a secret, public keys in PEM, or a JWK set"
_PRIVATE = "a private key; only its public part belongs here"
_LATEST = 1e12
"""No time that a token names is later, in Unix seconds: a few ten thousand years from now."""
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_KINDS = {
    "oct": ("HS256", "HS384", "HS512"),
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
    "Ed448": ("EdDSA",),
}
"""The algorithms of each kind of key; the first is what it verifies if no setting says otherwise."""
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


# The claims are checked here: by the server's clock, and in words for people.
_SIGNATURE_ONLY: Any = {
    f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")
}


class BadToken(ValueError):
    """A token that signs nobody in: one line that begins with ``token:`` and says why."""


@attrs.frozen
class Identity:
    """Who a token speaks of, and until when (Unix seconds). ``admin``: it makes the user an administrator of
    the server. ``claims``: all that it says."""

    user: User
    expires_at: float
    admin: bool
    claims: Mapping[str, Any]


@attrs.frozen
class _Key:
    key: Any
    algorithms: tuple[str, ...]
    id: str | None


class Tokens:
    """Verifies tokens by the keys in ``config.jwt_key``. Raises `ConfigError`, `OSError`."""

    def __init__(self, config: Config, clock: Callable[[], float]) -> None:
        assert config.jwt_key is not None
        self._config = config
        self._clock = clock
        try:
            import jwt
        except ImportError:
            raise ConfigError(
                "jwt_key: needs PyJWT, which is in the extra jwt: pip install 'trio-chat[jwt]'"
            ) from None
        self._jwt = jwt
        self._keys = _load_keys(Path(config.jwt_key), config.jwt_algorithms)
        self._allowed = sorted({name for key in self._keys for name in key.algorithms})

    def verify(self, token: str) -> Identity:
        """Who ``token`` is about; `BadToken` if it is not to be believed (any more)."""
        if len(token) > MAX_TOKEN_CHARS:
            raise BadToken(f"token: at most {MAX_TOKEN_CHARS} characters")
        claims = self._signed(token)
        now = self._clock()
        expires_at = _time(claims, "exp")
        if expires_at <= now:
            raise BadToken(f"token: expired {_age(now - expires_at)} ago")
        if "nbf" in claims and (early := _time(claims, "nbf") - now) > CLOCK_SKEW_SECONDS:
            raise BadToken(f"token: valid only in {_age(early)}")
        self._check_issue(claims)
        return Identity(self._user(claims), expires_at, self._is_admin(claims), claims)

    def _signed(self, token: str) -> dict[str, Any]:
        """The claims, once one of the keys has vouched for them."""
        errors = (self._jwt.PyJWTError, ValueError, TypeError, RecursionError)
        try:
            head = self._jwt.get_unverified_header(token)
        except errors:
            raise BadToken("token: not a signed JSON Web Token") from None
        algorithm, key_id = str(head.get("alg")), head.get("kid")
        fitting = [key for key in self._keys if algorithm in key.algorithms]
        if not fitting:
            raise BadToken(f"token: signed with one of {', '.join(self._allowed)}, not {algorithm[:32]!r}")
        fitting = [key for key in fitting if None in (key_id, key.id) or key_id == key.id]
        if not fitting:
            raise BadToken("token: signed with a key that is not known here (kid)")
        for key in fitting:
            try:
                claims: dict[str, Any] = self._jwt.decode(
                    token, key.key, algorithms=[algorithm], options=_SIGNATURE_ONLY
                )
            except self._jwt.InvalidSignatureError:
                continue
            except errors:
                raise BadToken("token: signed, but its content can't be read") from None
            return claims
        raise BadToken("token: wrong signature")

    def _check_issue(self, claims: Mapping[str, Any]) -> None:
        """Whether it was issued by whom, and for whom, the settings say."""
        if (issuer := self._config.jwt_issuer) is not None and _claim(claims, "iss") != issuer:
            raise BadToken("token: from another issuer (iss)")
        if (audience := self._config.jwt_audience) is not None:
            meant = _claim(claims, "aud")
            if audience not in (meant if isinstance(meant, list) else [meant]):
                raise BadToken("token: meant for another service (aud)")

    def _is_admin(self, claims: Mapping[str, Any]) -> bool:
        """Whether the claim that the settings name is true, or is or has the value that they name."""
        if self._config.jwt_admin is None:
            return False
        name, equals, wanted = self._config.jwt_admin.partition("=")
        found = claims.get(name)
        if not equals:
            return found is True
        return wanted in found if isinstance(found, list) else found == wanted

    def _user(self, claims: Mapping[str, Any]) -> User:
        claim = self._config.jwt_user
        user_id = _claim(claims, claim)
        if isinstance(user_id, int) and not isinstance(user_id, bool):
            user_id = str(user_id)
        if not isinstance(user_id, str):
            raise BadToken(f"token: the claim {claim} is a text or a whole number")
        name = claims.get(self._config.jwt_name, user_id)
        try:
            return signed_in_user(user_id, name if isinstance(name, str) and name.strip() else user_id)
        except ValueError as error:
            raise BadToken(f"token: {error}") from None


def signed_in_user(user_id: str, name: str) -> User:
    """The user of this id, with as much of ``name`` as a name may have, or `ValueError`."""
    if user_id.startswith(GUEST):
        raise ValueError(f"id: begins with {GUEST}, as only guests' do")
    return checked_user(User(user_id, short_name(name)))


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    if name not in claims:
        raise BadToken(f"token: the claim {name} is missing")
    return claims[name]


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = _claim(claims, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise BadToken(f"token: the claim {name} is a time in seconds since 1970")
    return float(value)


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(1, round(seconds))} seconds"


# --- keys -----------------------------------------------------------------------------------------------


def _load_keys(path: Path, wanted: tuple[str, ...]) -> list[_Key]:
    """The keys in a file: a JWK or a set of them, public keys in PEM, or a secret."""
    try:
        text = path.read_text("utf-8").strip()
    except ValueError:
        raise ConfigError(f"jwt_key: a file of text; {path} is none") from None
    found = list(_keys_in(text, path))
    if not found:
        raise ConfigError(f"{_ALLOWED_KEYS}; {path}: no key that verifies tokens")
    keys = []
    for key in found:
        algorithms = (
            tuple(name for name in key.algorithms if name in wanted) if wanted else key.algorithms[:1]
        )
        if algorithms:
            keys.append(attrs.evolve(key, algorithms=algorithms))
    if not keys:
        fitting = sorted({name for key in found for name in key.algorithms})
        raise ConfigError(f"jwt_algorithms: of {', '.join(fitting)} (the keys in {path}), not {wanted!r}")
    return keys


def _keys_in(text: str, path: Path) -> Iterator[_Key]:
    import jwt

    try:
        if text.startswith("{"):
            yield from _web_keys(json.loads(text))
        elif "-----BEGIN" in text:
            yield from _pem_keys(text)
        else:
            yield _checked("oct", text.encode())
    except (ValueError, TypeError, AttributeError, jwt.PyJWTError, RecursionError) as error:
        raise ConfigError(f"{_ALLOWED_KEYS}; {path}: {error}") from None


def _web_keys(content: dict[str, Any]) -> Iterator[_Key]:
    """The keys of a JWK or a JWK set (RFC 7517) that verify signatures."""
    import jwt

    keys = content.get("keys", [content])
    if not isinstance(keys, list) or not keys:
        raise ValueError("keys: a list of JWKs")
    for found in keys:
        kind = found.get("kty")
        kind = found.get("crv") if kind in ("EC", "OKP") else kind
        if found.get("use", "sig") != "sig" or kind not in _KINDS:
            continue  # another purpose's, or of a kind that is not known yet
        if kind != "oct" and "d" in found:
            raise ValueError(_PRIVATE)
        named = found.get("alg", _KINDS[kind][0])
        if named in _KINDS[kind]:
            key = _checked(kind, jwt.PyJWK(found, named).key, found.get("kid"))
            yield attrs.evolve(key, algorithms=(named,)) if "alg" in found else key


def _pem_keys(text: str) -> Iterator[_Key]:
    """The public keys in a file of PEM blocks."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise ValueError("public keys need cryptography, which is in the extra jwt") from None

    for block in _PEM.finditer(text):
        if "PRIVATE" in block[1]:
            raise ValueError(_PRIVATE)
        key = load_pem_public_key(block[0].encode())
        kind = ""
        if isinstance(key, rsa.RSAPublicKey):
            kind = "RSA"
        elif isinstance(key, ec.EllipticCurvePublicKey):
            kind = _CURVES.get(key.curve.name, "")
        elif isinstance(key, ed25519.Ed25519PublicKey):
            kind = "Ed25519"
        elif isinstance(key, ed448.Ed448PublicKey):
            kind = "Ed448"
        yield _checked(kind, key)


def _checked(kind: str, key: Any, key_id: str | None = None) -> _Key:
    """The key with the algorithms of its kind. Raises `ValueError` for one that is too weak."""
    if kind not in _KINDS:
        raise ValueError("a kind of key that signs no tokens")
    if kind == "oct" and len(key) < MIN_SECRET_BYTES:
        raise ValueError(f"a secret has {MIN_SECRET_BYTES} bytes or more, not {len(key)}")
    if kind == "RSA" and key.key_size < MIN_RSA_BITS:
        raise ValueError(f"an RSA key has {MIN_RSA_BITS} bits or more, not {key.key_size}")
    return _Key(key, _KINDS[kind], key_id)
