"""What the hub does for Wyoming clients such as Home Assistant: hears, speaks, listens for wake words, does what is
said. Each service has one file; a client's conversation is a `swarm.wyoming.listener.Talk`."""
