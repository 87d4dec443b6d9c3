"""The command `fita`: one file per command, a folder for a group of several. It prints; nothing below it does."""
