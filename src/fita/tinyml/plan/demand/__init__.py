"""What stages ask of devices, without cutting them."""
