"""Studies shipped with the package; `trainer.study.load` reads them by name."""
