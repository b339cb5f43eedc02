"""Signed tokens: which are believed, and in which words the others are refused."""

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trio_chat.chat.schema import MAX_NAME_CHARS, User
from trio_chat.chat.tokens import BadToken, Tokens
from trio_chat.config import Config, ConfigError

from .issuer import ISSUERS, NOW, RSA_KEY, SECRET, Issuer, jwk, jwk_set, private_pem

HS, RS = ISSUERS["HS256"], ISSUERS["RS256"]


def tokens(directory: Path, issuer: Issuer = HS, **more: Any) -> Tokens:
    """A server's view of ``issuer``, at `NOW`."""
    return Tokens(Config(log="memory:", jwt_key=issuer.key_file(directory), **more), lambda: NOW)


def keys(directory: Path, text: str, **more: Any) -> Tokens:
    """The same for the text of a file."""
    file = directory / "keys"
    file.write_text(text)
    return Tokens(Config(log="memory:", jwt_key=str(file), **more), lambda: NOW)


def unsigned(head: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    """A token of one's own making."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (head, claims)
    ]
    return ".".join([*parts, signature])


@pytest.mark.parametrize("name", ISSUERS)
def test_a_token_says_who_somebody_is(name: str, tmp_path: Path) -> None:
    """With each kind of key: the user, until when, and the other claims."""
    issuer = ISSUERS[name]
    identity = tokens(tmp_path, issuer).verify(issuer.token(roles=["staff"]))
    assert identity.user == User("u1", "Ann")
    assert identity.expires_at == NOW + 60
    assert identity.claims["roles"] == ["staff"]


REFUSED = [
    ({"exp": None}, "the claim exp is missing"),
    ({"sub": None}, "the claim sub is missing"),
    ({"exp": NOW}, "expired 1 seconds ago"),
    ({"exp": NOW - 90}, "expired 90 seconds ago"),
    ({"exp": NOW - 7200}, "expired 2 hours ago"),
    ({"exp": 1}, "expired 20833 days ago"),
    ({"exp": "soon"}, "the claim exp is a time in seconds since 1970"),
    ({"exp": True}, "the claim exp is a time in seconds since 1970"),
    ({"exp": 10**40}, "the claim exp is a time in seconds since 1970"),
    ({"nbf": NOW + 61}, "valid only in 61 seconds"),
    ({"nbf": "now"}, "the claim nbf is a time in seconds since 1970"),
    ({"sub": ["u1"]}, "the claim sub is a text or a whole number"),
    ({"sub": True}, "the claim sub is a text or a whole number"),
    ({"sub": "guest-1"}, "id: begins with guest-, as only guests' do"),
    ({"sub": ""}, "id: 1 to 128 printable characters"),
    ({"sub": "x" * 129}, "id: 1 to 128 printable characters"),
    ({"name": "A\u202enn"}, "name: no control, bidirectional or other format characters"),
]


@pytest.mark.parametrize(("claims", "reason"), REFUSED, ids=lambda value: ascii(value)[:40])
def test_a_claim_that_is_wrong_is_named(claims: dict[str, Any], reason: str, tmp_path: Path) -> None:
    """One line says what it is."""
    with pytest.raises(BadToken) as caught:
        tokens(tmp_path).verify(HS.token(claims))
    assert str(caught.value) == f"token: {reason}"


@pytest.mark.parametrize(
    ("claims", "user"),
    [
        ({"name": None}, User("u1", "u1")),
        ({"name": " "}, User("u1", "u1")),
        ({"name": 7}, User("u1", "u1")),
        ({"sub": 42, "name": None}, User("42", "42")),
        ({"name": "x" * 40}, User("u1", "x" * (MAX_NAME_CHARS - 1) + "…")),
        ({"sub": "ann@" + "x" * 60, "name": None}, User("ann@" + "x" * 60, "ann@" + "x" * 27 + "…")),
        ({"name": " e\u0301 "}, User("u1", "\u00e9")),
        ({"nbf": NOW + 59}, User("u1", "Ann")),
    ],
)
def test_what_a_name_may_be_in_a_token(claims: dict[str, Any], user: User, tmp_path: Path) -> None:
    """Without one the id is the name; a long one is cut; a clock may be a little ahead."""
    assert tokens(tmp_path).verify(HS.token(claims)).user == user


def test_claims_by_other_names(tmp_path: Path) -> None:
    """The settings say which claims are the id and the name."""
    them = tokens(tmp_path, jwt_user="uid", jwt_name="nick")
    assert them.verify(HS.token(uid=7, nick="annie")).user == User("7", "annie")
    with pytest.raises(BadToken, match="the claim uid is missing"):
        them.verify(HS.token())


@pytest.mark.parametrize(
    ("setting", "claims", "admin"),
    [
        (None, {"admin": True}, False),
        ("admin", {"admin": True}, True),
        ("admin", {}, False),
        ("admin", {"admin": "true"}, False),
        ("admin", {"admin": 1}, False),
        ("role=boss", {"role": "boss"}, True),
        ("role=boss", {"role": "bosses"}, False),
        ("role=boss", {"role": ["staff", "boss"]}, True),
        ("role=boss", {"role": ["staff"]}, False),
        ("role=boss", {"role": {"boss": True}}, False),
        ("role=a=b", {"role": "a=b"}, True),
        ("role=", {"role": None}, False),
    ],
)
def test_a_claim_may_make_an_administrator(
    setting: str | None, claims: dict[str, Any], admin: bool, tmp_path: Path
) -> None:
    """The one that the settings name, when it is true or has their value; nothing that only looks like it."""
    assert tokens(tmp_path, jwt_admin=setting).verify(HS.token(claims)).admin is admin


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://login.example"}, None),
        ({"iss": "https://login.example", "aud": ["mail", "chat"]}, None),
        ({"iss": None}, "the claim iss is missing"),
        ({"iss": "https://evil.example"}, "from another issuer (iss)"),
        ({"iss": "https://login.example", "aud": "mail"}, "meant for another service (aud)"),
        ({"iss": "https://login.example", "aud": "chatter"}, "meant for another service (aud)"),
        ({"iss": "https://login.example", "aud": None}, "the claim aud is missing"),
    ],
)
def test_issuer_and_audience(claims: dict[str, Any], reason: str | None, tmp_path: Path) -> None:
    """Where the settings name them, a token must."""
    them = tokens(tmp_path, jwt_issuer="https://login.example", jwt_audience="chat")
    token = HS.token({"aud": "chat"} | claims)
    if reason is None:
        assert them.verify(token).user.id == "u1"
    else:
        with pytest.raises(BadToken) as caught:
            them.verify(token)
        assert str(caught.value) == f"token: {reason}"


# --- signatures ------------------------------------------------------------------------------------------


def test_another_key_is_a_wrong_signature(tmp_path: Path) -> None:
    """However right the rest is."""
    other = Issuer("HS256", SECRET[::-1], "")
    with pytest.raises(BadToken, match=r"^token: wrong signature$"):
        tokens(tmp_path).verify(other.token())


@pytest.mark.parametrize("algorithm", ["none", "None", "", "HS512", "RS256", "hs256"])
def test_no_other_algorithm_will_do(algorithm: str, tmp_path: Path) -> None:
    """Not even ``none``, which signs nothing."""
    claims = {"sub": "u1", "exp": NOW + 60}
    with pytest.raises(BadToken, match="signed with one of HS256, not"):
        tokens(tmp_path).verify(unsigned({"alg": algorithm, "typ": "JWT"}, claims))


def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    """A token that takes the text of the public key for a secret is refused for its algorithm."""
    import hashlib
    import hmac

    text = unsigned({"alg": "HS256"}, {"sub": "admin", "exp": NOW + 60}).removesuffix(".")
    for public in (RS.public, RS.public.strip()):
        mac = hmac.new(public.encode(), text.encode(), hashlib.sha256).digest()
        signature = base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
        with pytest.raises(BadToken, match="signed with one of RS256, not 'HS256'"):
            tokens(tmp_path, RS).verify(f"{text}.{signature}")


def test_the_algorithms_may_be_chosen(tmp_path: Path) -> None:
    """Others of the same kind of key instead of the usual one."""
    them = tokens(tmp_path, RS, jwt_algorithms=("PS256", "RS512"))
    assert them.verify(Issuer("PS256", RSA_KEY, "").token()).user.id == "u1"
    assert them.verify(Issuer("RS512", RSA_KEY, "").token()).user.id == "u1"
    with pytest.raises(BadToken, match="signed with one of PS256, RS512, not 'RS256'"):
        them.verify(RS.token())


def test_a_changed_token_is_refused(tmp_path: Path) -> None:
    """Other claims under the same signature."""
    head, _, signature = HS.token().split(".")
    _, claims, _ = HS.token(sub="u2").split(".")
    with pytest.raises(BadToken, match="wrong signature"):
        tokens(tmp_path).verify(f"{head}.{claims}.{signature}")


NOT_TOKENS = ["", ".", "..", "a.b.c", "é.é.é", "x" * 8192, "x" * 8193, "e30.e30.e30", "[" * 4000]


@pytest.mark.parametrize("text", NOT_TOKENS, ids=lambda text: ascii(text[:8]))
def test_what_is_no_token_is_refused(text: str, tmp_path: Path) -> None:
    """Without anything but `BadToken`."""
    with pytest.raises(BadToken, match=r"^token: "):
        tokens(tmp_path).verify(text)


def test_a_header_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    """It is read before the signature, so anybody may send it."""
    deep = base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=")
    with pytest.raises(BadToken, match="not a signed JSON Web Token"):
        tokens(tmp_path).verify(f"{deep}.e30.")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 300), st.characters(codec="utf-8"))
def test_one_changed_character_is_enough(tmp_path: Path, at: int, character: str) -> None:
    """No other token passes, and nothing else is raised."""
    token = HS.token()
    at %= len(token)
    changed = token[:at] + character + token[at + 1 :]
    them = tokens(tmp_path)
    try:
        identity = them.verify(changed)
    except BadToken:
        return
    # The last character of a Base64 text has bits that mean nothing.
    assert identity == them.verify(token)


# --- keys ------------------------------------------------------------------------------------------------


def test_a_set_of_keys_is_chosen_from_by_name(tmp_path: Path) -> None:
    """``kid`` chooses; without one each key of the kind is tried; an unknown one is told."""
    es, ed = ISSUERS["ES256"], ISSUERS["EdDSA"]
    them = keys(
        tmp_path, jwk_set(jwk(RS, kid="a"), jwk(es, kid="b", alg="ES256"), jwk(ed, kid="c", use="sig"))
    )
    for issuer, kid in ((RS, "a"), (es, "b"), (ed, "c"), (RS, None)):
        assert them.verify(issuer.token(kid=kid)).user.id == "u1"
    with pytest.raises(BadToken, match="a key that is not known here"):
        them.verify(RS.token(kid="z"))


def test_keys_for_other_purposes_are_passed_over(tmp_path: Path) -> None:
    """Encryption, and kinds that are not known."""
    text = jwk_set(jwk(HS, use="enc"), {"kty": "new"}, jwk(ISSUERS["ES384"]))
    assert keys(tmp_path, text).verify(ISSUERS["ES384"].token()).user.id == "u1"
    with pytest.raises(BadToken, match="signed with one of ES384"):
        keys(tmp_path, text).verify(HS.token())


def test_several_public_keys_in_one_file(tmp_path: Path) -> None:
    """So a new one can be added before the old one goes."""
    them = keys(tmp_path, RS.public + ISSUERS["ES256"].public)
    assert them.verify(RS.token()).user == them.verify(ISSUERS["ES256"].token()).user


BAD_KEYS = {
    "a short secret": ("secret", "a secret has 32 bytes or more, not 6"),
    "an empty file": ("", "a secret has 32 bytes or more, not 0"),
    "a private key": (private_pem(RSA_KEY), "a private key; only its public part belongs here"),
    "a private JWK": (json.dumps({**jwk(RS), "d": "AQAB"}), "a private key; only its public part"),
    "half a PEM": ("-----BEGIN PUBLIC KEY-----\nMIIB", "no key that verifies tokens"),
    "no JSON": ("{", "jwt_key: a secret, public keys in PEM, or a JWK set"),
    "no keys": ('{"keys": []}', "keys: a list of JWKs"),
    "not a list": ('{"keys": 1}', "keys: a list of JWKs"),
    "no object": ('{"keys": [1]}', "jwt_key: a secret, public keys in PEM, or a JWK set"),
    "of another kind": ('{"kty": "new"}', "no key that verifies tokens"),
    "broken": ('{"kty": "RSA"}', "jwt_key: a secret, public keys in PEM, or a JWK set"),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_file_without_keys_is_a_configuration_error(name: str, tmp_path: Path) -> None:
    """One line says which setting, and what is wrong with the file."""
    text, reason = BAD_KEYS[name]
    with pytest.raises(ConfigError) as caught:
        keys(tmp_path, text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_weak_rsa_key_is_refused(tmp_path: Path) -> None:
    """1024 bits are not enough."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    from .issuer import asymmetric

    with pytest.raises(ConfigError, match="an RSA key has 2048 bits or more, not 1024"):
        tokens(tmp_path, asymmetric("RS256", rsa.generate_private_key(65537, 1024)))


def test_algorithms_that_no_key_fits_are_a_configuration_error(tmp_path: Path) -> None:
    """A secret verifies no RS256, whatever the settings say."""
    with pytest.raises(ConfigError, match=r"^jwt_algorithms: of HS256, HS384, HS512"):
        tokens(tmp_path, jwt_algorithms=("RS256",))


def test_without_pyjwt_it_is_said_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    import sys

    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(ConfigError, match=r"^jwt_key: needs PyJWT.*trio-chat\[jwt\]"):
        tokens(tmp_path)


def test_pyjwt_checks_what_we_leave_to_it(tmp_path: Path) -> None:
    """A token with an extension that must be understood is refused (RFC 7515 section 4.1.11)."""
    token = jwt.encode({"sub": "u1", "exp": NOW + 60}, SECRET, "HS256", headers={"crit": ["x"], "x": 1})
    with pytest.raises(BadToken):
        tokens(tmp_path).verify(token)
