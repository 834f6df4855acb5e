"""One file per step of the line; each fills exactly one field of a sample."""
