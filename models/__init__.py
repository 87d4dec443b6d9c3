"""The project's own models and the scripts that train them; see README.md here. `make models` runs them all."""

from __future__ import annotations

import os

# Before TensorFlow is imported: oneDNN's sums depend on the processor, and nobody needs the start-up messages.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
