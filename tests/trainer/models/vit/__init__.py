"""Tests of the vision transformer."""
