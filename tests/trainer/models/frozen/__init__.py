"""Tests of trainer/models/frozen."""
