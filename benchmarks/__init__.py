"""Ratios against named peers, each measured in one run: python -m benchmarks.NAME."""
