"""What learns: segmenters, the discriminators that judge labels, and their files."""
