"""Tests of trainer/measure."""
