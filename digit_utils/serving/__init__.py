"""Serving: the web page around the pad."""
