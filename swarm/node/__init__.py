"""A running node: its services, how they are put together, and how they end. Only this package composes them."""

from swarm.node.running import run_node

__all__ = ["run_node"]
