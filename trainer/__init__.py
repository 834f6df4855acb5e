"""Reads shards and sidecars; writes checkpoints, weight sidecars and results."""
