"""The reference executor's NumPy kernels; `fita.tinyml.execute` is their only door."""
