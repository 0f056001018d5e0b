"""What `compress` and `extensions` of a server or a client stand for, together."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .protocol.extensions import Extension


def chosen_extensions(
    compress: bool | None, extensions: Iterable[Extension]
) -> tuple[Extension, ...]:
    """Return the extensions to be negotiated, the dearest first.

    Nothing is imported for none: a program that does not compress has no need of `zlib`.

    Args:
        compress: Whether permessage-deflate is among them, with its defaults; `None` for that
            only if this Python has `zlib`.
        extensions: The others; one of the same name stands for that with the defaults.

    Raises:
        ImportError: It is to be compressed, and there is no `zlib`.
        TypeError: One is not an `Extension`.
        ValueError: One cannot be.
    """
    given, off = tuple(extensions), compress is not None and not compress
    if off and not given:
        return ()
    from .protocol.extensions import check_extensions

    given = check_extensions(given)
    if off or any(each.name == "permessage-deflate" for each in given):
        return given
    try:
        from .protocol.deflate import PerMessageDeflate
    except ImportError:
        if compress:
            raise
        return given
    return (PerMessageDeflate(), *given)
