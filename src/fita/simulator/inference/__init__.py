"""Split models on MicroPython processes of this machine, one for each device."""
