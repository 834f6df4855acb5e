"""Experts that need no download: colour, place, size, saliency, regions, GrabCut, and the maps they think on."""
