"""How fast training and sweeps are."""
