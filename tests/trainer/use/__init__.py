"""Tests of trainer/use."""
