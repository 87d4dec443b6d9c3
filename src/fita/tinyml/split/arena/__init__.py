"""How tensors share one arena of activations, and a hostile executor that proves it harmless."""
