"""Driver for sensors of an emulated board: the rows of a CSV file, over and over.

Rows are ``seconds,value``, or ``value`` for one a second.
"""

from signals import Signal


def make(options):
    """The signal of the file ``options["parameters"][0]`` in flash."""
    return Signal(Rows(options["folder"] + "/" + options["parameters"][0]).at)


class Rows:
    """A value holds until the next row's time, the first one from the start; the file begins again 1 s after its
    last row. Keeps one row in RAM.
    """

    def __init__(self, name):
        self._name = name
        self._begin(0)

    def at(self, ms):
        if ms < self._begun:
            self._begin(0)
        while True:
            due = self._begun + (self._time + 1000 if self._next is None else self._next[0])
            if ms < due:
                return self._value
            if self._next is None:
                self._begin(due)
            else:
                self._time, self._value = self._next
                self._next = self._row()

    def _begin(self, ms):
        self._begun = ms
        self._position = 0
        self._rows = 0
        self._time = 0
        self._next = self._row()
        if self._next is None:
            raise ValueError(self._name + " has no rows of numbers")
        self._value = self._next[1]

    def _row(self):
        """The next row as ``(ms, value)``, None at the end. Headings and empty lines do not count."""
        with open(self._name) as file:
            file.seek(self._position)
            while True:
                line = file.readline()
                if not line:
                    return None
                try:
                    cells = [float(cell) for cell in line.split(",")]
                except ValueError:
                    continue
                self._position = file.tell()
                self._rows += 1
                at = int(cells[0] * 1000) if len(cells) > 1 else (self._rows - 1) * 1000
                return at, cells[-1]
