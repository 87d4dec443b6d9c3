"""One package on its way into flash: blocks in order, checked while they come, never whole in RAM."""

import gc

import coap
from coap import RequestError
from micropython import const
from package import PackageReader
from result import INTEGRITY_FAILED, OUT_OF_MEMORY, STORAGE_FULL, PackageError

_ENOSPC = const(28)
_HEAD = const(4)


class Upload:
    """Writes the code to the file `name` of the store. `accept(header)` and `accept_code(head)`, with the
    first four bytes of the code or more, may raise PackageError.

    When a package cannot be accepted, `failure` is the PackageError and the file is gone.
    """

    def __init__(self, store, name, accept, accept_code, now):
        self._store = store
        self._offset = 0
        self._reader = PackageReader(accept, self._write)
        self._accept_code = accept_code
        self._head = bytearray()
        self.name = name
        self.failure = None
        self.sha256 = None  # of the code, once all of it is there and undamaged
        self.touched = now
        store.discard(name)
        self._file = open(store.path(name), "wb")

    @property
    def header(self):
        return self._reader.header

    def feed(self, offset, data, more, now):
        """Take the block at `offset`; True when it was the last one."""
        self.touched = now
        if offset + len(data) == self._offset and more:
            return False  # the block before once more
        if offset != self._offset:
            raise RequestError(coap.INCOMPLETE, "byte %d comes next" % self._offset)
        self._offset += len(data)
        self._guard(self._reader.feed, data)
        if not more and self.failure is None:
            self._guard(self._finish)
        return not more

    def abort(self, failure=None):
        """Give up and remove the file."""
        self.failure = self.failure or failure
        self._reader = None
        self._file.close()
        self._store.discard(self.name)

    def _finish(self):
        sha256 = self._reader.finish()
        self._file.close()
        if self._store.digest(self.name) != sha256:
            raise PackageError(INTEGRITY_FAILED, "flash is damaged")
        self.sha256 = sha256

    def _guard(self, function, *arguments):
        try:
            function(*arguments)
        except PackageError as error:
            self.abort(error)
        except MemoryError:
            gc.collect()
            self.abort(PackageError(OUT_OF_MEMORY, "out of memory"))
        except OSError as error:
            full = error.errno == _ENOSPC
            self.abort(PackageError(STORAGE_FULL, "flash is full" if full else "flash: " + repr(error)))

    def _write(self, data):
        if len(self._head) < _HEAD:
            self._head.extend(data[:_HEAD])
            if len(self._head) >= _HEAD:
                self._accept_code(self._head)
        self._file.write(data)
