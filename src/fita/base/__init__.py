"""What every layer stands on: errors, clock, backoff, supervision, logging, packaged files."""
