"""Measurements of speed, load and memory, each a script that says how it is run."""
