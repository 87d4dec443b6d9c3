"""Cutting a graph into the segments of a plan. Decides nothing: that is the planner's."""
