"""What every node runs; alone it makes a CPU worker."""

__version__ = "0.1.0"
