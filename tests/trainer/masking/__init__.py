"""Tests of maskings."""
