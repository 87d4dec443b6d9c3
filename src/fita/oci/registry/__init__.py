"""The distribution API: who we are to a registry, and what we ask of it."""
