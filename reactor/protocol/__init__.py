"""The bytes wing: pure. No sockets, no clock, no threads, no logging."""
