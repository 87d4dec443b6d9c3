"""Segments as files that devices run, and as `.tflite` slices for devices with TFLite Micro."""
