"""One self-contained page about a dataset, its runs and a comparison; reads plain files, nothing reads it."""
