"""Samples become batches: the table in memory, the order of an epoch, augmentation, tokens."""
