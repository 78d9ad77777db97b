"""Preprocessing: handwriting, as strokes or as an image, becomes the 28x28 image that the network reads."""
