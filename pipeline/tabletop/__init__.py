"""The embedded world: robot-table scenes with exact masks, and instructions proven to have one meaning.

solids, shapes, arm -> graph, scene -> lens, surface, outlook, light, render -> sight -> query (checker) <- language,
quiz (grammar).
"""
