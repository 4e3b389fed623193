"""`mycoswarm bench`: measures on this machine what BENCHMARKS.md promises.

It composes parts of all packages, as the command line does, and makes its own speech.
"""
