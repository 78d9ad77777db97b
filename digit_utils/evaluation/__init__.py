"""Evaluation: error rates with intervals, calibration, robustness and rejection."""
