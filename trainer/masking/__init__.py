"""Which patches a model does not see while it learns."""
