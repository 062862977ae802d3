"""Experiments that show the theory of neural fields at work: curves and tables instead of videos."""
