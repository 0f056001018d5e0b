"""Roles that break rules: of the protocol, of the handshake, and of good conduct."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reactor import Response
from reactor.protocol.frames import MASK, pack_header
from tests.virtual.role import Boom, Role

if TYPE_CHECKING:
    from reactor import Connection
    from tests.virtual.role import Script


def frame(head: int, payload: bytes, masked: bool = True) -> bytes:
    """Return a frame that is the same each time: its mask changes nothing."""
    key = bytes(4) if masked else b""
    return pack_header(head, len(payload), MASK if masked else 0) + key + payload


RULES: dict[str, tuple[bytes, int]] = {
    "reserved bits": (frame(0xF1, b"x"), 1002),
    "a reserved opcode": (frame(0x83, b"x"), 1002),
    "a reserved control opcode": (frame(0x8B, b"x"), 1002),
    "no mask": (frame(0x81, b"x", False), 1002),
    "a fragmented ping": (frame(0x09, b"x"), 1002),
    "a long ping": (b"\x89\xfe\x00\x7e" + bytes(130), 1002),
    "a length in too many bytes": (b"\x81\xfe\x00\x05" + bytes(9), 1002),
    "a length of 64 bits with the first set": (b"\x82\xff" + b"\xff" * 8, 1002),
    "text that is not UTF-8": (frame(0x81, b"\xc3("), 1007),
    "text that ends in a character": (frame(0x81, b"ok\xe2\x82"), 1007),
    "a continuation of nothing": (frame(0x80, b"x"), 1002),
    "a message inside a message": (
        frame(0x01, b"x") + frame(0x81, b"y"),
        1002,
    ),
    "a Close of one byte": (frame(0x88, b"\x03"), 1002),
    "a Close with 1005": (frame(0x88, (1005).to_bytes(2, "big")), 1002),
    "a Close with 999": (frame(0x88, (999).to_bytes(2, "big")), 1002),
    "a reason that is not UTF-8": (frame(0x88, b"\x03\xe8\xff"), 1007),
}
TOO_MUCH: dict[str, tuple[bytes, int]] = {
    "a message that is too big": (b"\x82\xff" + (1 << 30).to_bytes(8, "big"), 1009),
    "fragments that are too big": (
        frame(0x02, bytes(10)) + b"\x80\xff" + (1 << 30).to_bytes(8, "big"),
        1009,
    ),
    "too many fragments": (
        frame(0x01, b"") + frame(0x00, b"") * 16_385,
        1008,
    ),
}
KINDS = (
    *["version", "key", "two_keys", "no_host", "plain", "post", "bad_line"],
    *["long_line", "many_fields", "origin", "onrequest_403", "onrequest_raises"],
    *["tls", "upgrade_http10", "body", "nowhere"],
)


class Violator(Role):
    """One that breaks a rule behind some good messages."""

    def draw(self) -> None:
        self.extensions = ()
        rules = dict(RULES)
        if not self.stage.in_parts:
            rules.update(TOO_MUCH)
        if self.stage.options["max_fragments"] > 64:
            rules.pop("too many fragments", None)
        self.rule = self.random.choice(sorted(rules))
        self.data, self.code = rules[self.rule]
        self.data = self.data[: 8 * 80] if "many" in self.rule else self.data
        self.count = self.random.randint(0, 3)
        self.more = self.random.random() < 0.5

    def script(self) -> Script:
        visitor = self.connect()
        yield self.opened
        for number in range(self.count):
            visitor.send(str(number))
        visitor.write(self.data)
        if self.more:
            visitor.send("and on")
        yield self.ended

    def outcome(self) -> object:
        return self.messages, self.ends, self.visitor.closed

    def check(self) -> None:
        assert self.messages == list(map(str, range(self.count))), self.rule
        assert self.visitor.closed is not None, self.rule
        assert self.visitor.closed[0] == self.code, self.rule
        assert self.ends == [self.visitor.closed], self.rule
        assert self.visitor.ended == "end", self.rule

    def check_disturbed(self) -> None:
        assert self.messages == list(map(str, range(len(self.messages))))


def request(number: int, **fields: str | None) -> bytes:
    """Return a request, with fields changed, or left out for `None`."""
    lines: dict[str, str | None] = {
        "Host": "memory",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    lines.update({name.replace("_", "-"): value for name, value in fields.items()})
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"GET /{number} HTTP/1.1\r\n{text}\r\n".encode()


class Refused(Role):
    """One whose request is wrong, or is answered otherwise."""

    def draw(self) -> None:
        self.extensions = ()
        self.kind = self.random.choice(KINDS)
        self.slowly = self.random.random() < 0.3
        # Behind these there may be another request, which nobody reads.
        again = self.kind in ("version", "key", "origin", "onrequest_403", "onrequest_raises")
        self.again = again and self.random.random() < 0.5

    def data(self) -> tuple[bytes, set[int]]:
        number = self.number
        ours = request(number)
        return {
            "version": (request(number, Sec_WebSocket_Version="8"), {426}),
            "key": (request(number, Sec_WebSocket_Key="short"), {400}),
            "two_keys": (ours[:-2] + b"Sec-WebSocket-Key: x\r\n\r\n", {400}),
            "no_host": (request(number, Host=None), {400}),
            "plain": (request(number, Upgrade=None, Connection=None), {426, 404}),
            "post": (ours.replace(b"GET", b"POST"), {405, 400}),
            "bad_line": (b"GET\x00 / HTTP/1.1\r\n\r\n", {400}),
            "long_line": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", {414}),
            "many_fields": (ours[:-2] + b"X: y\r\n" * 200 + b"\r\n", {431}),
            "origin": (request(number, Origin="http://elsewhere"), {403}),
            "onrequest_403": (ours, {403}),
            "onrequest_raises": (ours, {500}),
            "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50), {400}),
            "upgrade_http10": (ours.replace(b"HTTP/1.1", b"HTTP/1.0"), {400, 426, 505}),
            "body": (request(number, Content_Length="5") + b"hello", {400}),
            "nowhere": (ours.replace(b"/%d" % number, b"/no/where", 1), {404, 101}),
        }[self.kind]

    def onrequest(self, request: Any) -> Any:
        if self.kind == "onrequest_raises":
            raise Boom("onrequest")
        if self.kind == "onrequest_403":
            return Response(403, body="go away")
        return None

    def script(self) -> Script:
        data, self.statuses = self.data()
        if self.kind == "nowhere" and not self.stage.has_places:
            return
        if self.again:
            data += request(self.number)
        visitor = self.connect(request=b"" if self.slowly else data)
        if self.slowly:
            for start in range(0, len(data), 200):
                visitor.write(data[start : start + 200])
                yield 0.001
        yield self.ended

    def outcome(self) -> object:
        return getattr(self, "visitor", None) and self.visitor.response[:13]

    def check(self) -> None:
        if not hasattr(self, "visitor"):
            return
        status = int(self.visitor.response[9:12] or b"0")
        assert status in self.statuses, (self.kind, self.visitor.response, self.visitor.ended)
        assert self.client is None
        assert self.visitor.ended == "end"
        assert b"HTTP/1.1 " not in self.visitor.body
        if self.kind == "onrequest_403":
            assert self.visitor.body == b"go away"


class SlowRequest(Role):
    """One whose request comes slowly, or never whole."""

    determined = False

    def draw(self) -> None:
        self.how = self.random.choice(["byte by byte", "half", "nothing", "leaves", "resets"])

    def script(self) -> Script:
        visitor = self.connect(request=b"")
        data = request(self.number)
        if self.how == "byte by byte":
            for start in range(len(data)):
                visitor.write(data[start : start + 1])
                yield 0.01
            yield lambda: self.visitor.opened
            visitor.close()
        elif self.how != "nothing":
            visitor.write(data[: self.random.randrange(1, len(data))])
            if self.how != "half":
                yield 1.0
                getattr(visitor, "disconnect" if self.how == "leaves" else "reset")()
        yield self.ended

    def check(self) -> None:
        status, ended = self.visitor.response[9:12], self.visitor.ended
        crowded = "max_pending_handshakes" in self.stage.options
        if self.how == "byte by byte":
            if not crowded and self.stage.healthy:
                assert status == b"101"
                assert self.ends == [(1000, "")]
            return
        assert self.client is None
        if self.how == "half":
            assert status == b"408" or (crowded and not status)
        else:
            assert not status
        assert ended in ("end", "reset", "left")

    def check_disturbed(self) -> None:
        assert not self.ends or self.ends[0][0] in (1000, 1006, self.stage.stop_code)


class Greeted(Role):
    """One that asks for a subprotocol and is answered with fields of the user's."""

    def script(self) -> Script:
        offered = self.random.choice(["other, chat", "chat", "unknown"])
        self.offered = offered.split(", ")
        visitor = self.connect(headers={"Sec-WebSocket-Protocol": offered})
        yield self.opened
        yield lambda: visitor.received
        visitor.close()
        yield self.ended

    def onrequest(self, request: Any) -> Any:
        return {"X-Number": str(self.number)}

    def onopen(self, client: Connection) -> None:
        if self.stage.proxied:
            assert client.address == self.visitor.route.address
        client.send(str(client.subprotocol))

    def check(self) -> None:
        known = self.stage.options["subprotocols"]
        agreed = next((name for name in known if name in self.offered), None)
        assert self.visitor.received == [str(agreed)]
        assert b"\r\nX-Number: %d\r\n" % self.number in self.visitor.response
        assert (b"Sec-WebSocket-Protocol" in self.visitor.response) is (agreed is not None)


class BadCompression(Role):
    """One that agrees on compression and sends what is none."""

    def script(self) -> Script:
        visitor = self.connect()
        yield self.opened
        visitor.frame(0xC1, b"\xff\xff\xff\xff no deflate")
        yield self.ended

    def check(self) -> None:
        assert self.visitor.closed is not None
        assert self.visitor.closed[0] in ((1002, 1007) if self.extensions else (1002,))
        assert self.messages == []


WRONG: list[type[Role]] = [Violator, Refused, SlowRequest, Greeted, BadCompression]
