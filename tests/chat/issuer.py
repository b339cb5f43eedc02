"""Somebody who issues tokens, for the tests of signing in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

NOW = 1_800_000_000.0
SECRET = "a secret of thirty-two characters"


@attrs.frozen
class Issuer:
    """A key that signs, and the text of the file that a server verifies with."""

    algorithm: str
    private: Any
    public: str

    def token(self, claims: Mapping[str, Any] | None = None, *, kid: str | None = None, **more: Any) -> str:
        """A token for u1, called Ann, good for a minute from `NOW`, but for these claims; None leaves one
        out."""
        content = {"sub": "u1", "name": "Ann", "exp": NOW + 60} | dict(claims or {}) | more
        content = {name: value for name, value in content.items() if value is not None}
        headers = None if kid is None else {"kid": kid}
        return jwt.encode(content, self.private, self.algorithm, headers=headers)

    def key_file(self, directory: Path) -> str:
        """Write what the server needs, and say where."""
        file = directory / f"{self.algorithm}.key"
        file.write_text(self.public)
        return str(file)


def asymmetric(algorithm: str, private: Any) -> Issuer:
    """An issuer with this private key."""
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return Issuer(algorithm, private, public)


def private_pem(private: Any) -> str:
    """What must not be in the server's file."""
    text: bytes = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text.decode()


RSA_KEY = rsa.generate_private_key(65537, 2048)
ISSUERS = {
    "HS256": Issuer("HS256", SECRET, f"{SECRET}\n"),
    "RS256": asymmetric("RS256", RSA_KEY),
    "ES256": asymmetric("ES256", ec.generate_private_key(ec.SECP256R1())),
    "ES384": asymmetric("ES384", ec.generate_private_key(ec.SECP384R1())),
    "EdDSA": asymmetric("EdDSA", ed25519.Ed25519PrivateKey.generate()),
}


def jwk(issuer: Issuer, **more: Any) -> dict[str, Any]:
    """The issuer's verifying key as a JWK."""
    algorithms = jwt.algorithms.get_default_algorithms()
    key: Any = SECRET if isinstance(issuer.private, str) else issuer.private.public_key()
    found = algorithms[issuer.algorithm].to_jwk(key)
    return {**(json.loads(found) if isinstance(found, str) else found), **more}


def jwk_set(*keys: dict[str, Any]) -> str:
    """The text of a file with these keys."""
    return json.dumps({"keys": list(keys)})
