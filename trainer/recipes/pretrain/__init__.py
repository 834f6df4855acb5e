"""Pre-training recipes shipped with the package; `trainer.pretrain_config.load` reads them by name."""
