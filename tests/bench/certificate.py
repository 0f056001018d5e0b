"""The certificate that the servers show where the load comes by TLS, made when it is needed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Files(NamedTuple):
    """Paths of PEM files."""

    certificate: str
    key: str
    authority: str


def missing() -> str:
    """What has to be installed for it, as a sentence; empty: nothing."""
    if importlib.util.find_spec("trustme") is None:
        return "trustme, which makes the certificate, not installed"
    return ""


@contextlib.contextmanager
def made() -> Iterator[Files]:
    """A certificate for this machine, in a temporary folder that goes with the context."""
    trustme = importlib.import_module("trustme")
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", "127.0.0.1", "::1")
    with tempfile.TemporaryDirectory(prefix="wsreactor-bench-") as folder:
        files = Files(*(str(Path(folder, f"{name}.pem")) for name in Files._fields))
        leaf.private_key_pem.write_to_path(files.key)
        authority.cert_pem.write_to_path(files.authority)
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(files.certificate, append=True)
        yield files
