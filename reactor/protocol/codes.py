"""Numbers that have names: what a frame is, and why a connection ended.

Facts: a class of `enum` with twenty members costs as much to make as ten modules to import, a
connection needs none of them, and `int`s pass for its members wherever one is taken.

So they are imported by those who name them.
"""

from __future__ import annotations

from enum import IntEnum


class Opcode(IntEnum):
    """What a frame is (RFC 6455 §5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(IntEnum):
    """Why a connection ended (RFC 6455 §7.4.1 and its registry).

    1005, 1006 and 1015 are never sent: they tell the application that no code came, that the
    connection was lost, and that TLS failed.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_PAYLOAD = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015
