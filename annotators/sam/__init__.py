"""Segment-anything models: images encoded once, prompts answered from the encoding."""
