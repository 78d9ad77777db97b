"""Training: data, networks, a resumable loop, and the calibrated export."""
