"""Tests that mirror the tree; packages, so that one test module may import another's real objects."""
