"""Models that learn from scratch on one core."""
