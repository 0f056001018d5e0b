"""reactor: an ordinary ``Server`` with every default on.

``speedups`` and ``numpy`` plug in a compiled way of masking: that of websockets, numpy's XOR.
"""

from __future__ import annotations

import importlib
from typing import Callable

from reactor import Connection, Server

from .leash import announce, task


class Echo(Server):
    def onmessage(self, client: Connection, message: str | bytes) -> None:
        client.send(message)


class FanOut(Server):
    def onmessage(self, client: Connection, message: str | bytes) -> None:
        self.broadcast(message)


def numpy_mask() -> Callable[[bytes | bytearray | memoryview, bytes], bytes]:
    numpy = importlib.import_module("numpy")
    words, xor, view = numpy.dtype("<u4"), numpy.bitwise_xor, numpy.frombuffer

    def apply_mask(data: bytes | bytearray | memoryview, key: bytes) -> bytes:
        size = len(data)
        whole = data if size % 4 == 0 else bytes(data) + bytes(-size % 4)
        masked: bytes = xor(view(whole, words), view(key, words)).tobytes() if size else b""
        return masked if size % 4 == 0 else masked[:size]

    return apply_mask


def use_compiled(own: str) -> None:
    from reactor.protocol import masking

    if own == "numpy":
        masking.use(numpy_mask(), least=1024)
    elif own == "speedups":
        masking.use(importlib.import_module("websockets.speedups").apply_mask)


def main() -> None:
    asked = task("speedups", "numpy")
    use_compiled(asked.own)
    kind = FanOut if asked.fanout else Echo
    server = kind(("127.0.0.1", 0), compress=asked.deflate, tls=asked.context())
    address = server.addresses[0]
    assert isinstance(address, tuple)
    announce(address[1])
    server.run()


if __name__ == "__main__":
    main()
