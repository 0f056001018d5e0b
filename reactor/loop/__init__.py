"""The sockets wing: time and sockets. Knows nothing of WebSockets."""
