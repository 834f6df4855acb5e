"""Tests of the experts with weights: equality with transformers on tiny random models, and their loading."""
