"""A plain vision transformer that can be shown a part of its patches, and what is built on it."""
