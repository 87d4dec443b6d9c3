"""A pod on a device: admission, environment, image, deployment, status, and the loop that brings them together."""
