"""Studies shipped with the package; `trainer.study_file.load` reads them by name."""
