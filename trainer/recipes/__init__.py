"""Training recipes shipped with the package; `trainer.config.load` reads them by name."""
