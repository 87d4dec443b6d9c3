"""From the bytes of a .tflite file to checked operators; the Reader is its only door."""
