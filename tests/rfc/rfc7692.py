"""The examples that RFC 7692 itself gives."""

from __future__ import annotations

# §5.2: the value of Sec-WebSocket-Extensions, and the offers in it.
OFFERS: list[tuple[str, list[tuple[str, list[tuple[str, str | None]]]]]] = [
    ("permessage-foo", [("permessage-foo", [])]),
    ("permessage-foo; x=10", [("permessage-foo", [("x", "10")])]),
    ('permessage-foo; x="10"', [("permessage-foo", [("x", "10")])]),
    ("permessage-foo, permessage-bar", [("permessage-foo", []), ("permessage-bar", [])]),
    (
        "permessage-foo; use_y, permessage-foo",
        [("permessage-foo", [("use_y", None)]), ("permessage-foo", [])],
    ),
]

# §7.1.3: what a client may offer, and the answers that accept it.
SIMPLEST = ("permessage-deflate", ["permessage-deflate"])
SMALL_WINDOW = (
    "permessage-deflate; client_max_window_bits; server_max_window_bits=10",
    ["permessage-deflate; server_max_window_bits=10"],
)
FALLBACK = (
    "permessage-deflate; client_max_window_bits; server_max_window_bits=10, "
    "permessage-deflate; client_max_window_bits",
    ["permessage-deflate; server_max_window_bits=10", "permessage-deflate"],
)

HELLO = b"Hello"

# §7.2.3.1: "Hello" in one block, with the four bytes that are to be removed, and without.
FLUSHED = "f2 48 cd c9 c9 07 00 00 00 ff ff"
PAYLOAD = "f2 48 cd c9 c9 07 00"
# As one frame, and as two.
FRAME = "c1 07 f2 48 cd c9 c9 07 00"
FRAGMENTS = ("41 03 f2 48 cd", "80 04 c9 c9 07 00")

# §7.2.3.2: the same message again, with the window of the first.
AGAIN = "f2 00 11 00 00"

# What else "Hello" may come as: the section, and the payload.
VARIANTS = [
    ("§7.2.3.3, a block without compression", "00 05 00 fa ff 48 65 6c 6c 6f 00"),
    ("§7.2.3.4, a block with BFINAL", "f3 48 cd c9 c9 07 00 00"),
    ("§7.2.3.5, two blocks", "f2 48 05 00 00 00 ff ff ca c9 c9 07 00"),
]

# §7.2.3.6: an empty fragment that ends a message.
EMPTY = "00"
