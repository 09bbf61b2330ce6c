"""Mixed models, one equation an outcome."""
