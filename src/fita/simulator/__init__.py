"""Emulated devices: the real device runtime in processes of this machine, each with a heap limit of its own."""
