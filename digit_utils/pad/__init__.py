"""The drawing pad: an ipycanvas widget that predicts while you draw."""
