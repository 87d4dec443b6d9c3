"""The command `fita`: one file per command. It prints; nothing below it does."""
