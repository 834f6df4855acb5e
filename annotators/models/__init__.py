"""Experts with downloaded weights: detectors, text segmenters, and how their weights are found and named."""
