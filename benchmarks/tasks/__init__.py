"""Data sets and fits that several benchmarks share."""
