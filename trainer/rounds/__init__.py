"""The data engine: models join the panel that made their labels, and the labels are made again."""
