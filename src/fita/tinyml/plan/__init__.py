"""Which part of a model runs on which device: cost model, search, simulator and pictures. Runs nothing."""
