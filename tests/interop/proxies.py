"""Other people's proxies: a configuration for each, of what the tests need and no more.

Each yields the port that it listens on, and writes its log into the folder it is given.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

from tests import processes, programs

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.certificates import Files

_numbers = itertools.count(1)


def _log(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / f"{name}-{next(_numbers)}.log"


def _write(folder: pathlib.Path, name: str, text: str) -> str:
    path = folder / f"{name}-{next(_numbers)}.conf"
    path.write_text(text)
    return str(path)


NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {files.certificate}; ssl_certificate_key {files.key};
        {more}
        location / {{
            proxy_pass http://127.0.0.1:{backend};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $host:$server_port;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(folder: pathlib.Path, files: Files, backend: int, more: str = "") -> Iterator[int]:
    """It ends TLS, and says in X-Forwarded-For who came."""
    program = programs.program("nginx")
    port = processes.free_port()
    text = NGINX.format(folder=folder, files=files, port=port, backend=backend, more=more)
    command = [program, "-p", str(folder), "-e", "stderr", "-c", _write(folder, "nginx", text)]
    with processes.listening(command, port, _log(folder, "nginx")):
        yield port


HAPROXY = """
defaults
    mode {mode}
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
{more}
listen front
    bind 127.0.0.1:{port} ssl crt {files.key}
    server back 127.0.0.1:{backend} {options}
"""


@contextlib.contextmanager
def haproxy(
    folder: pathlib.Path,
    files: Files,
    backend: int,
    options: str = "",
    *,
    mode: str = "tcp",
    more: str = "",
) -> Iterator[int]:
    """It ends TLS."""
    program = programs.program("haproxy")
    port = processes.free_port()
    text = HAPROXY.format(
        files=files, port=port, backend=backend, options=options, mode=mode, more=more
    )
    command = [program, "-db", "-f", _write(folder, "haproxy", text)]
    with processes.listening(command, port, _log(folder, "haproxy")):
        yield port


@contextlib.contextmanager
def tinyproxy(folder: pathlib.Path, *user: str) -> Iterator[int]:
    """It obeys CONNECT; if there is a user, with a password, to that one alone."""
    program = programs.program("tinyproxy")
    port = processes.free_port()
    lines = [f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 20"]
    if user:
        lines.append(f"BasicAuth {' '.join(user)}")
    command = [program, "-d", "-c", _write(folder, "tinyproxy", "\n".join(lines) + "\n")]
    with processes.listening(command, port, folder / "tinyproxy.log"):
        yield port


@contextlib.contextmanager
def microsocks(folder: pathlib.Path, *user: str) -> Iterator[int]:
    """It speaks SOCKS5; if there is a user, with a password, to that one alone."""
    program = programs.program("microsocks")
    port = processes.free_port()
    command = [program, "-i", "127.0.0.1", "-p", str(port)]
    if user:
        command += ["-u", user[0], "-P", user[1]]
    with processes.listening(command, port, folder / "microsocks.log"):
        yield port


LIGHTTPD = """
server.document-root = "{folder}"
server.bind = "127.0.0.1"
server.port = {port}
server.modules = ("mod_auth", "mod_authn_file", "mod_proxy")
auth.backend = "{backend_of_users}"
auth.backend.{backend_of_users}.userfile = "{users}"
auth.require = ("" => ("method" => "{method}", "realm" => "lions", "require" => "valid-user"
    {algorithm}))
proxy.server = ("" => (("host" => "127.0.0.1", "port" => {backend})))
proxy.header = ("upgrade" => "enable")
"""


@contextlib.contextmanager
def lighttpd(folder: pathlib.Path, backend: int, users: str, algorithm: str) -> Iterator[int]:
    """It asks for Basic, or for Digest with an algorithm, of the `users` of a file's lines."""
    program = programs.program("lighttpd")
    port = processes.free_port()
    basic = algorithm == "Basic"
    text = LIGHTTPD.format(
        folder=folder,
        port=port,
        backend=backend,
        backend_of_users="plain" if basic else "htdigest",
        users=_write(folder, "users", users),
        method="basic" if basic else "digest",
        algorithm="" if basic else f', "algorithm" => "{algorithm}"',
    )
    command = [program, "-D", "-f", _write(folder, "lighttpd", text)]
    with processes.listening(command, port, _log(folder, "lighttpd")):
        yield port
