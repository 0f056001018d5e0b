"""websocket-client: its blocking connection."""

from __future__ import annotations

import websocket

from .talk import Talk


def main() -> None:
    talk = Talk()
    step = talk.step
    connection = websocket.create_connection(talk.uri)
    answer: str | bytes | None = talk.first
    while answer is not None:
        if talk.echo:
            if isinstance(answer, str):
                connection.send(answer)
            else:
                connection.send_binary(answer)
        answer = step(connection.recv())
    connection.close()
    talk.end()


if __name__ == "__main__":
    main()
