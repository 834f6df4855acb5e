"""Carries samples from sources through stages into write-once shards."""
