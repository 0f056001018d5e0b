"""Certificates, made by trustme as they are asked for: one authority for all tests of a run.

server_context("localhost")      what a server shows, and what it asks of its clients
client_context()                 what a client trusts, and what it shows
files(tmp_path)                  the same in files, for programs that are not ours
"""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

from tests import programs

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

# The names of the machine that all tests run on.
HERE = ("localhost", "127.0.0.1", "::1")


class Files(NamedTuple):
    """Paths of PEM files."""

    certificate: str
    key: str
    authority: str


@functools.cache
def authority() -> Any:
    """Return the authority that all certificates here are from: a `trustme.CA`."""
    return programs.module("trustme").CA()


def issue(*names: str, expired: bool = False) -> Any:
    """Return the certificate, with its key, for these names: a `trustme.LeafCert`."""
    return _issue(names, expired)


@functools.cache
def _issue(names: Sequence[str], expired: bool) -> Any:
    if not expired:
        return authority().issue_cert(*names)
    now = datetime.datetime.now(datetime.timezone.utc)
    yesterday, before = now - datetime.timedelta(1), now - datetime.timedelta(2)
    return authority().issue_cert(*names, not_before=before, not_after=yesterday)


def server_context(*names: str, expired: bool = False, ask: bool = False) -> ssl.SSLContext:
    """Return what a server of these names needs, or else of `HERE`.

    It demands a certificate of its clients if it is to `ask`.
    """
    leaf = issue(*(names or HERE), expired=expired)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    if ask:
        authority().configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(name: str | None = None, *, trust: bool = True) -> ssl.SSLContext:
    """Return what a client needs; it shows a certificate if it has a `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trust:
        authority().configure_trust(context)
    if name is not None:
        issue(name).configure_cert(context)
    return context


def fingerprint() -> str:
    """Return the hash of the public key of `HERE`, by which Chromium is told to trust it."""
    certificate = issue(*HERE).cert_chain_pems[0].bytes()
    encoding = programs.module("cryptography.hazmat.primitives.serialization")
    key = programs.module("cryptography.x509").load_pem_x509_certificate(certificate)
    info = key.public_key().public_bytes(
        encoding.Encoding.DER, encoding.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(hashlib.sha256(info).digest()).decode()


def files(folder: pathlib.Path, *names: str, expired: bool = False) -> Files:
    """Write a certificate for these names, or else for `HERE`, and return where it is.

    The file of the key has the certificate behind it: some programs want both in one.
    """
    leaf = issue(*(names or HERE), expired=expired)
    paths = Files(*(str(folder / f"{kind}.pem") for kind in Files._fields))
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    for path, data in (
        (paths.certificate, chain),
        (paths.key, leaf.private_key_pem.bytes() + chain),
        (paths.authority, authority().cert_pem.bytes()),
    ):
        with open(path, "wb") as file:
            file.write(data)
    return paths


def encrypt(path: str) -> None:
    """Encrypt the private key in a file."""
    encoding = programs.module("cryptography.hazmat.primitives.serialization")
    with open(path, "rb") as file:
        key = encoding.load_pem_private_key(file.read(), None)
    with open(path, "wb") as file:
        file.write(
            key.private_bytes(
                encoding.Encoding.PEM,
                encoding.PrivateFormat.PKCS8,
                encoding.BestAvailableEncryption(b"secret"),
            )
        )
