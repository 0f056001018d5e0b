"""How do I send and receive single frames, as to see what a server does with them?

    python examples/frames_by_hand.py [port]

A message goes out in three frames, with a ping between them, and then a Close. Whatever comes
back is printed as it is: nothing is put together or answered but by hand.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from reactor import ConnectionClosed, Frame, Opcode, WebSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 10  # seconds


def probe(address: tuple[str, int], **options: Any) -> Iterator[Frame]:
    """Yield what a server answers."""
    with WebSocket(**options) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(address)
        first, second, third = Frame(Opcode.TEXT, b"one two three").fragment(5)
        sock.send(first, second, Frame(Opcode.PING, b"still there?"), third)
        yield from sock.recvn(2)
        sock.send(Frame(Opcode.CLOSE, b"\x03\xe8"))
        try:
            while True:
                yield sock.recv()
        except ConnectionClosed as end:
            print(f"the end: {end.code} {end.reason}")


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    for answer in probe(("127.0.0.1", port)):
        print(answer)
