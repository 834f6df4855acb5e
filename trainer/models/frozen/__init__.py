"""Networks that are not trained: their settings, their inputs, what of them is kept on disk."""
