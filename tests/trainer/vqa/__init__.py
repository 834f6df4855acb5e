"""Tests of trainer.vqa."""
