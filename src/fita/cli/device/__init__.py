"""`fita device`: who may join, and devices that are emulated on this machine."""
