"""A mask decoder over frozen SAM and text encoders."""
