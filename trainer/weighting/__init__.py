"""Detached per-sample losses in, per-sample weights out: one file per rule."""
