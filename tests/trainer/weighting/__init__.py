"""Tests of trainer.weighting."""
