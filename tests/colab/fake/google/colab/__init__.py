"""Stands in for Colab's own module, as far as the notebooks know it."""
