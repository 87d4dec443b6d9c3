"""The demonstrations: each drives the whole system as a user would, by kubectl, the CLI and the HTTP interface.

They assert what they show. A demonstration that shows something else than it promises fails.
"""
