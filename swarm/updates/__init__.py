"""Updates of images, one swarm at a time: what is offered, who may install it when, and how each node fares.

A signed bundle is offered once, by a person at any node, and comes to the others from each other (`swarm.transfer`).
Nothing here decides whether a bundle may be believed: each node's own keyring does, before it is offered and again
before it is installed (`Slots`).
"""
