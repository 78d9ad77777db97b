"""Augmentation: what a digit may look like, and what is no digit."""
