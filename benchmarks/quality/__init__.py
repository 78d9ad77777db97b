"""How well the bundled model reads."""
