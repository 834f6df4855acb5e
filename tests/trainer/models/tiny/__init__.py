"""Tests of trainer/models/tiny."""
