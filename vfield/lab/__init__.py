"""Experiments that show what the theory gives, each with figures and a picture: `vfield lab NAME`."""
