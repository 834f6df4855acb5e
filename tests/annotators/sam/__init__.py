"""Tests of the SAM family."""
