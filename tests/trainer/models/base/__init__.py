"""Tests of trainer/models/base."""
