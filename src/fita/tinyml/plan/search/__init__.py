"""Searches for plans: exact over chains of disjoint devices, by integer programming, and over teams."""
