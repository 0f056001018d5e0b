"""reactor: an ordinary ``Client`` with every default on but compression."""

from __future__ import annotations

from reactor import Client

from .talk import Talk


def main() -> None:
    talk = Talk()
    step = talk.step

    class Echo(Client):
        def onopen(self) -> None:
            self.send(talk.first)

        def onmessage(self, message: str | bytes) -> None:
            answer = step(message)
            if answer is None:
                self.close()
            else:
                self.send(answer)

    class Take(Client):
        def onmessage(self, message: str | bytes) -> None:
            if step(message) is None:
                self.close()

    (Echo if talk.echo else Take)(talk.uri, compress=False).run()
    talk.end()


if __name__ == "__main__":
    main()
