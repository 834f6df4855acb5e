"""Tests of trainer/models/ivm."""
