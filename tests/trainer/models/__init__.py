"""Tests of trainer/models."""
