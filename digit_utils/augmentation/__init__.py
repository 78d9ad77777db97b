"""Augmentation: random variations of digits, and synthetic non-digits."""
