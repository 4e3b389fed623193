"""Images of nodes: built, made a person's own, written to cards and disks."""
