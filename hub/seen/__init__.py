"""How the nodes are seen by Home Assistant, and by whatever else reads its discovery messages."""
