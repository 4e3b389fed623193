"""Files from node to node, by what they are and not by where they lie: bundles of updates, later models."""
