"""A swarm in one process: a clock that jumps and a network that loses, delays and parts, beside the real ones."""
