"""Datasets: found, downloaded, verified by content, and split."""
