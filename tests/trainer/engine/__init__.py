"""Tests of trainer/engine."""
