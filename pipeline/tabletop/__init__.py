"""The embedded world: robot-table scenes with exact masks, and instructions proven to have one meaning.

shapes, arm -> graph, scene -> lens, surface, render -> sight; query (checker) <- language (grammar).
"""
