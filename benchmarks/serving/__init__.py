"""How fast the drawing page is, alone and with many visitors."""
