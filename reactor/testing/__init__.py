"""Doubles for tests, the package's own and its users': time, a network in memory, clients.

```python
def test_a_silent_client_is_dropped():
    clock = FakeClock()
    with Peer.of(Chat, clock=clock, ping_interval=20, ping_timeout=10) as peer:
        peer.send("hello")
        assert peer.received == ["* someone came"]
        peer.answers_pings = False
        peer.advance(31)
        assert peer.closed == (1011, "ping timeout")
```

Nothing here waits, sleeps or opens a socket: the same test does the same each time. A `Reactor`
runs on a `MemorySelector` and a `FakeClock`; its server takes over one end of `memory_pair()`,
and the test holds the other, by hand or as a `Peer`.

A `Peer` is answered at once. In a `World` there is a network between the clients and their
server, with delays, cut streams and cables, small buffers, all drawn from a seed:

```python
def test_a_client_whose_cable_was_cut_is_dropped():
    with World(seed=1) as world:
        server = world.server(Chat, ping_interval=20, ping_timeout=10)
        visitor = world.connect(server)
        world.until(lambda: visitor.received == ["* someone came"])
        visitor.vanish()
        world.run(35)
        assert not server.clients
```
"""

from __future__ import annotations

from .clock import FakeClock
from .memory import MemorySelector, MemorySocket, memory_pair
from .network import Route
from .peer import Peer
from .visitor import Visitor
from .world import World

__all__ = [
    "FakeClock",
    "MemorySelector",
    "MemorySocket",
    "Peer",
    "Route",
    "Visitor",
    "World",
    "memory_pair",
]
