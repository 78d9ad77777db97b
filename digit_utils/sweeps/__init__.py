"""Sweeps: many runs of a notebook, and their report."""
