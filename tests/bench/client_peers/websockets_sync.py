"""websockets: its client for threads, compression off."""

from __future__ import annotations

from websockets.sync.client import connect

from .talk import Talk


def main() -> None:
    talk = Talk()
    step = talk.step
    with connect(talk.uri, compression=None) as connection:
        if talk.echo:
            answer: str | bytes | None = talk.first
            while answer is not None:
                connection.send(answer)
                answer = step(connection.recv())
        else:
            for message in connection:
                if step(message) is None:
                    break
    talk.end()


if __name__ == "__main__":
    main()
