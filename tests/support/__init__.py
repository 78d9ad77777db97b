"""What several test folders and the benchmarks share."""
