"""The last lines that somebody logged, in a bounded piece of RAM."""

from micropython import const

_LINE_CHARACTERS = const(120)
_CAPACITY = const(480)


class Log:
    """Keeps the newest lines, at most 480 characters in all; every line is also printed after `name`."""

    def __init__(self, name):
        self._name = name
        self._lines = []
        self._size = 0

    def add(self, text):
        text = str(text)[:_LINE_CHARACTERS]
        print(self._name + ": " + text)
        self._lines.append(text)
        self._size += len(text) + 1
        while self._size > _CAPACITY:
            self._size -= len(self._lines.pop(0)) + 1

    def text(self):
        """All kept lines, oldest first, with line ends."""
        return "\n".join(self._lines)
