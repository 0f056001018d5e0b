"""Extensions: their interface, and how they are negotiated (RFC 6455 §9).

An `Extension` is what a server or a client is configured with, once; it speaks for either side
of the negotiation. What it does on one connection is a `Codec`, which it makes when both sides
have agreed, and which overrides what it needs:

```text
         a message leaves                            a message arrives
begin_encode, encode   on the message,      decode_frame    on each frame, whole
                       in its parts         begin_decode,   on the message, in its parts,
encode_frame           on each frame        decode          as they come
```

Facts: a kilobyte of deflate can be a megabyte of zeros, so what decodes a message must be able
to stop; a message may be larger than memory, so it must not need all of it; and whether to
encode must be decided before, since what has gone through a compressor that remembers it has
to be sent. So messages are coded in parts, and a decoder yields its pieces. A frame is small,
or can be made so: a hook for frames is given the whole.
"""

from __future__ import annotations

from ..errors import HandshakeError, MessageTooBig, ProtocolError
from .frames import BINARY, RSV1, RSV2, RSV3, Frame, as_bytes
from .http import is_token
from .masking import new_key
from .quoting import split_unquoted, unquoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from typing import Any, Callable, Optional

    # The parameters of an offer or an answer, in their order: name and value, `None` for a name
    # by itself. One name may come twice: it is for the extension to refuse that.
    Params = Sequence[tuple[str, Optional[str]]]

_RSV = RSV1 | RSV2 | RSV3
# Those that RFC 6455 §5.2 reserves.
_RESERVED_OPCODES = frozenset((0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF))


class Codec:
    """What an extension does on one connection.

    All of it is optional. To fail the connection, raise a `ProtocolError` with the close code
    and the reason; whatever else is raised is an error of the extension, and fails it with
    1011. One message is coded at a time, in each direction: a codec is its own state.

    Attributes:
        extension: Whose it is.
        params: What was agreed on, as the server's answer has it.
        send_frame: Call it with a `Frame` to send one of an opcode that the extension has
            claimed, any other is a `ValueError`; it is masked if need be, and no codec sees it.
        key: What the encoded form of a message depends on, besides the message: where it is
            equal for many connections, a message to all of them is encoded once. `None`, the
            default, if it depends on the connection, as on what was sent before.
    """

    extension: Extension
    params: Params = ()
    send_frame: Callable[[Frame], None]
    key: object = None

    def begin_encode(self, opcode: int, size: int | None, compress: bool | None) -> int | None:
        """Decide whether a message is to be encoded; called before each message that leaves.

        Args:
            opcode: `Opcode.TEXT` or `Opcode.BINARY`.
            size: Bytes of the message; `None` if they are not known yet, as of a generator's.
            compress: What the sender of the message wishes; `None` leaves it to the extension.

        Returns:
            `None` to leave the message alone; or the RSV bits that are to be set on its first
            frame, which may be 0, and then `encode` is called.
        """
        return None

    def encode(self, data: bytes, final: bool) -> bytes:
        """Return the encoded form of the next part of a message, ready to leave.

        Args:
            data: The part; the whole message, if it is sent whole.
            final: Whether it is the last, which may be empty.
        """
        raise NotImplementedError

    def begin_decode(self, opcode: int, rsv: int) -> bool:
        """Return whether a message is to be decoded; called when its first frame begins.

        Args:
            opcode: `Opcode.TEXT` or `Opcode.BINARY`.
            rsv: The RSV bits of that frame, as a mask: `RSV1`, `RSV2`, `RSV3`.
        """
        return False

    def decode(self, data: bytes, final: bool) -> Iterable[bytes]:
        """Yield what the next part of a message stands for, in pieces of moderate size.

        The caller counts what comes, and asks for no more when it is too much: whoever yields
        64 KiB at a time holds no more than that, whatever the peer has sent.

        Args:
            data: The part.
            final: Whether it is the last, which may be empty.
        """
        raise NotImplementedError

    def encode_frame(self, frame: Frame) -> Frame:
        """Return what a data frame becomes on its way out; called before it is masked.

        Args:
            frame: May be changed. Control frames are not shown: they must get through.
        """
        return frame

    def decode_frame(self, frame: Frame, limit: int) -> Frame | None:
        """Return what a frame stands for; `None` if it is the extension's own, and dealt with.

        Args:
            frame: A data frame, or one with an opcode that the extension has claimed; whole,
                and not masked. May be changed.
            limit: The most bytes that its payload may have then: raise `MessageTooBig` as soon
                as it would have more.
        """
        return frame

    # Two hooks in one, for a message that is whole: overridden where a call counts.

    def encode_whole(
        self, opcode: int, data: bytes, compress: bool | None
    ) -> tuple[int, bytes] | None:
        """Return what `begin_encode` and then `encode` say of a message that is sent whole."""
        rsv = self.begin_encode(opcode, len(data), compress)
        return None if rsv is None else (rsv, self.encode(data, True))

    def decode_whole(
        self, opcode: int, rsv: int, data: bytes
    ) -> bytes | Iterator[bytes] | None:
        """Return what `begin_decode` and then `decode` say of a message of one frame.

        Returns:
            `None` to leave the message alone; its pieces; or all of it, as `bytes`, if that is
            no more than a piece of moderate size.
        """
        return iter(self.decode(data, True)) if self.begin_decode(opcode, rsv) else None

    @property
    def codes_messages(self) -> bool:
        """Whether it has a hook for messages."""
        mine = type(self)
        return (mine.begin_encode, mine.begin_decode) != (
            Codec.begin_encode,
            Codec.begin_decode,
        )

    @property
    def codes_frames(self) -> bool:
        """Whether it has a hook for frames, so that its RSV bits may stand on each of them."""
        mine = type(self)
        return (mine.encode_frame, mine.decode_frame) != (
            Codec.encode_frame,
            Codec.decode_frame,
        )


class Extension:
    """An extension, as a server or a client is configured with it (RFC 6455 §9).

    One object may serve any number of connections, servers and clients. A server calls
    `answer`, a client `offers` and then `agree`.

    Attributes:
        name: As it stands in `Sec-WebSocket-Extensions`.
        rsv: The RSV bits that it claims, as a mask: `RSV1`, `RSV2`, `RSV3`. If its codec has
            hooks for frames they are allowed on every data frame, otherwise on the first of a
            message.
        opcodes: The reserved opcodes that it claims, for frames that are not fragmented.
    """

    name = ""
    rsv = 0
    opcodes: Collection[int] = ()

    def offers(self) -> Iterable[Params]:
        """Return the offers of a client, the dearest first; called for each request.

        By default it is one, without parameters.
        """
        return [()]

    def agree(self, answer: Params) -> Codec:
        """Return the codec of a client's connection; called with the server's answer.

        Raises:
            ValueError: The answer is none to any of the offers; the handshake fails.
        """
        raise NotImplementedError

    def answer(self, offer: Params) -> tuple[Params, Codec] | None:
        """Answer an offer; called for each one of a client, until one is accepted.

        Returns:
            The parameters of the answer and the codec of the server's connection; or `None` to
            decline, as everything that is not understood has to be.
        """
        return None

    def __repr__(self) -> str:
        """Return the name."""
        return f"<{type(self).__name__} {self.name!r}>"


def guard(hook: Callable[..., Any], *args: Any) -> Any:
    """Call a hook of a codec; what it raises comes out as a `ProtocolError`.

    Raises:
        ProtocolError: The hook's own; or 1011, caused by what else it has raised.
    """
    try:
        return hook(*args)
    except ProtocolError:
        raise
    except Exception as error:
        raise ProtocolError(1011, "an extension failed") from error


def claims(codecs: Sequence[Codec]) -> tuple[int, int, tuple[tuple[int, int], ...]]:
    """Return what extensions claim, as `parser.tables` takes it.

    It is the RSV bits of a message's first frame, those of every data frame, and the opcodes,
    each with the bits that its own extension claims.
    """
    first = every = 0
    opcodes: list[tuple[int, int]] = []
    for codec in codecs:
        extension = codec.extension
        first |= extension.rsv
        every |= extension.rsv if codec.codes_frames else 0
        opcodes += [(opcode, extension.rsv) for opcode in extension.opcodes]
    return first, every, tuple(opcodes)


def pack_own(frame: Frame, codecs: Sequence[Codec], masked: bool) -> bytes:
    """Return the bytes of a frame of an extension's own.

    Raises:
        ValueError: Its opcode is none that an extension has claimed.
    """
    if not any(frame.opcode in codec.extension.opcodes for codec in codecs):
        raise ValueError(f"frame of opcode {frame.opcode:#x}, which no extension has claimed")
    frame.masking_key = new_key() if masked else b""
    return frame.pack()


def encoded_room(limit: int) -> int:
    """Return how many bytes `limit` bytes may have once they are encoded.

    What cannot be compressed grows: by 4 % at zlib's lowest memory level, and by ten bytes for
    each fragment. What it stands for is counted exactly, and this is only to end.
    """
    return 2 * limit + 1024


def encode_frame(codecs: Iterable[Codec], frame: Frame) -> Frame:
    """Return what a frame becomes on its way out, not yet masked.

    Args:
        codecs: Those with hooks for frames, in their order.
        frame: A data frame.

    Raises:
        ProtocolError: An extension has failed.
    """
    for codec in codecs:
        if _is_shown(codec, frame):
            frame = guard(_encoded, codec, frame)
    return frame


def decode_frame(codecs: Iterable[Codec], frame: Frame, limit: int) -> Frame | None:
    """Return what a frame stands for, or `None` if it is an extension's own.

    Args:
        codecs: Those with hooks for frames, the last one first.
        frame: A frame that is not one of RFC 6455's control frames.
        limit: The most bytes that its payload may have then.

    Raises:
        ProtocolError: An extension has failed, or has found that the peer has.
    """
    for codec in codecs:
        if _is_shown(codec, frame):
            decoded = guard(_decoded, codec, frame, limit)
            if decoded is None:
                return None
            frame = decoded
    if len(frame.payload) > limit:
        raise MessageTooBig(len(frame.payload), limit)
    return frame


def _is_shown(codec: Codec, frame: Frame) -> bool:
    return frame.opcode <= BINARY or frame.opcode in codec.extension.opcodes


def _encoded(codec: Codec, frame: Frame) -> Frame:
    return _checked(codec.encode_frame(frame))


def _decoded(codec: Codec, frame: Frame, limit: int) -> Frame | None:
    decoded = codec.decode_frame(frame, limit)
    return None if decoded is None else _checked(decoded)


def _checked(frame: object) -> Frame:
    """Return a copy of what a hook has made of a frame, if that is one."""
    if not isinstance(frame, Frame):
        raise TypeError(f"{type(frame).__name__}, not a Frame")
    # A hook may have set its attributes to what no frame can have.
    return Frame(
        frame.opcode,
        as_bytes(frame.payload),
        fin=frame.fin,
        rsv1=frame.rsv1,
        rsv2=frame.rsv2,
        rsv3=frame.rsv3,
    )


def check_extensions(extensions: Iterable[Extension]) -> tuple[Extension, ...]:
    """Return extensions as a tuple, once each has been found in order.

    Raises:
        TypeError: One is not an `Extension`.
        ValueError: A name is not a token or comes twice, or what is claimed cannot be.
    """
    checked = tuple(extensions)
    for extension in checked:
        if not isinstance(extension, Extension):
            raise TypeError(f"extension {extension!r} is not an Extension")
        # "extension-token = registered-token" (RFC 6455 §9.1).
        if not _is_token(extension.name):
            raise ValueError(f"name {extension.name!r} of an extension is not a token")
        if extension.rsv & ~_RSV:
            raise ValueError(f"rsv={extension.rsv:#x} of {extension.name}, not RSV bits")
        if not _RESERVED_OPCODES.issuperset(extension.opcodes):
            raise ValueError(f"{extension.name} claims an opcode that is not reserved")
    names = [extension.name for extension in checked]
    if len(set(names)) < len(names):
        raise ValueError(f"extensions {names!r}: one comes twice")
    return checked


def offer(extensions: Iterable[Extension]) -> str:
    """Return the value of the `Sec-WebSocket-Extensions` of a request (RFC 6455 §9.1)."""
    return ", ".join(
        _element(extension, params) for extension in extensions for params in extension.offers()
    )


def accept_offers(
    extensions: Iterable[Extension], values: Iterable[str]
) -> tuple[str, tuple[Codec, ...]]:
    """Answer a client's offers, as a server.

    The client's order is its preference. Of two extensions that claim the same bit or opcode,
    the one that it has named first is accepted, and the other declined.

    Args:
        extensions: Those of the server.
        values: The values of the fields `Sec-WebSocket-Extensions` of the request.

    Returns:
        The value of that field in the response, `""` for no such field; and the codecs, in
        their order.

    Raises:
        HandshakeError: The field is malformed: 400.
    """
    known = {extension.name: extension for extension in extensions}
    codecs: list[Codec] = []
    try:
        offered = parse_extensions(values)
    except ValueError as error:
        raise HandshakeError(400, f"Sec-WebSocket-Extensions: {error}") from None
    for name, params in offered:
        extension = known.get(name)
        if extension is None or _conflicts(extension, codecs):
            continue
        accepted = extension.answer(params)
        if accepted is not None:
            answer, codec = accepted
            codecs.append(_bound(codec, extension, answer))
    # "Should the extensions modify the data and/or framing, the order of operations on the data
    # should be assumed to be the same as the order in which the extensions are listed in the
    # server's response" (RFC 6455 §9.1): a message is coded before its frames are.
    codecs.sort(key=lambda codec: codec.codes_frames)
    return describe(codecs), tuple(codecs)


def accept_answer(extensions: Iterable[Extension], values: Iterable[str]) -> tuple[Codec, ...]:
    """Take a server's answer, as a client.

    Args:
        extensions: Those that were offered.
        values: The values of the fields `Sec-WebSocket-Extensions` of the response.

    Returns:
        The codecs, in their order.

    Raises:
        ValueError: It is not an answer to what was offered.
    """
    known = {extension.name: extension for extension in extensions}
    codecs: list[Codec] = []
    values = list(values)
    # "the header field MUST NOT appear more than once in an HTTP response" (RFC 6455 §11.3.2).
    if len(values) > 1:
        raise ValueError(f"{len(values)} such fields, not one (RFC 6455 §11.3.2)")
    for name, params in parse_extensions(values):
        extension = known.get(name)
        # "If the response includes a |Sec-WebSocket-Extensions| header field and this header
        # field indicates the use of an extension that was not present in the client's handshake
        # [...], the client MUST _Fail the WebSocket Connection_" (RFC 6455 §4.1).
        if extension is None:
            raise ValueError(f"extension {name[:32]} was not offered (RFC 6455 §4.1)")
        if _conflicts(extension, codecs):
            raise ValueError(f"extension {name} twice, or beside one that it excludes")
        codec = _bound(extension.agree(params), extension, params)
        if codecs and codecs[-1].codes_frames and not codec.codes_frames:
            raise ValueError(f"extension {name} behind one that works on its frames")
        codecs.append(codec)
    return tuple(codecs)


def _bound(codec: Codec, extension: Extension, params: Params) -> Codec:
    """Return a codec that knows whose it is and what was agreed on."""
    if not isinstance(codec, Codec):
        raise TypeError(f"{extension.name} made {type(codec).__name__}, not a Codec")
    if extension.opcodes and not codec.codes_frames:
        raise TypeError(f"{extension.name} claims opcodes, and its codec decodes no frames")
    codec.extension, codec.params = extension, tuple(params)
    return codec


def describe(codecs: Iterable[Codec]) -> str:
    """Return the value of `Sec-WebSocket-Extensions` that stands for these."""
    return ", ".join(_element(codec.extension, codec.params) for codec in codecs)


def _conflicts(extension: Extension, codecs: Iterable[Codec]) -> bool:
    """Return whether an extension is in use already, or claims what another one has claimed."""
    return any(
        extension is codec.extension
        or extension.rsv & codec.extension.rsv
        or not set(extension.opcodes).isdisjoint(codec.extension.opcodes)
        for codec in codecs
    )


def _element(extension: Extension, params: Params) -> str:
    parts = [extension.name]
    for name, value in params:
        parts.append(name if value is None else f"{name}={value}")
        # "When using the quoted-string syntax variant, the value after quoted-string unescaping
        # MUST conform to the 'token' ABNF" (RFC 6455 §9.1): so none needs to be quoted.
        if not _is_token(name) or (value is not None and not _is_token(value)):
            raise ValueError(f"parameter {name!r}={value!r} of {extension.name}: no tokens")
    return "; ".join(parts)


def _is_token(text: object) -> bool:
    # What comes from an extension may be a number, for all that its annotations say.
    return isinstance(text, str) and is_token(text)


def parse_extensions(values: Iterable[str]) -> list[tuple[str, Params]]:
    """Return the extensions that a header names, with their parameters (RFC 6455 §9.1).

    Args:
        values: The values of the fields of that name: one list, cut between elements.

    Raises:
        ValueError: It is malformed.
    """
    found: list[tuple[str, Params]] = []
    elements = [element for value in values for element in split_unquoted(value, ",")]
    for element in filter(None, elements):
        name, *params = split_unquoted(element, ";")
        if not is_token(name):
            raise ValueError(f"{name[:32]!a} is not an extension's name (RFC 6455 §9.1)")
        found.append((name, [_param(param) for param in params]))
    return found


def _param(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    name, value = name.rstrip(" \t"), value.lstrip(" \t")
    if not is_token(name):
        raise ValueError(f"{text[:32]!a} is not a parameter (RFC 6455 §9.1)")
    if not equals:
        return name, None
    if value[:1] == '"':
        value = unquoted(value)
    if not is_token(value):
        raise ValueError(f"value of {name[:32]} is not a token (RFC 6455 §9.1)")
    return name, value
