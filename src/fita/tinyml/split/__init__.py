"""Cutting a graph into the segments of a plan, and what they need of memory. Decides nothing: that is the planner's."""
