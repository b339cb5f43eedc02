"""A certificate for 127.0.0.1, made for the run by `trustme` (of the extra ``test``)."""

import importlib.util
from pathlib import Path


class NoCertificate(Exception):
    """It can't be made here: one line."""


class Certificate:
    """Files in ``directory``: ``chain`` and ``key`` for the server, ``ca`` for who is to trust it."""

    def __init__(self, directory: Path) -> None:
        if importlib.util.find_spec("trustme") is None:
            raise NoCertificate("trustme is not installed, which makes the certificate: pip install trustme")
        import trustme

        self.chain, self.key, self.ca = (str(directory / name) for name in ("chain.pem", "key.pem", "ca.pem"))
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1", "localhost")
        issued.private_key_pem.write_to_path(self.key)
        for number, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(self.chain, append=number > 0)
        authority.cert_pem.write_to_path(self.ca)
