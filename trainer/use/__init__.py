"""A trained model at work: predictions, and what a mask does to an image."""
