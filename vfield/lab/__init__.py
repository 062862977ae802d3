"""Experiments that show the theory of neural fields at work, on the package's own parts.

Nothing in the package needs them; only the command line imports this room.
"""
