"""What random models are drawn with; `fita.tinyml.generate` is its only door."""
