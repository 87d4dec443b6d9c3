"""The journal of services: downloaded, delivered, installed, active. What is installed survives a loss of power
at any moment; an upload that had not been installed by then is gone, and its instance with it.
"""

import sys

import coap
import result
from coap import RequestError
from micropython import const
from result import PackageError
from store import codes

INITIAL = const(0)
DOWNLOADING = const(1)
DELIVERED = const(3)
INSTALLED = const(4)

_RESULT_DOWNLOADING = const(1)
_RESULT_INSTALLED = const(2)
_RESULT_VERIFIED = const(3)
_UPLOAD_PATIENCE_MS = const(120000)


class Entry:
    """One instance of object 9. Records are dicts: header, code (file), sha256, active, sometimes previous."""

    def __init__(self, state=INITIAL, result=0, record=None):
        self.state = state
        self.result = result
        self.record = record  # what is installed
        self.update = None  # what is delivered and not installed
        self.upload = None
        self.error = ""
        self.log = ""


class Installer:
    """`changed(instance)` is told of every change of an entry; `host` runs what is active."""

    def __init__(self, store, limits, host, changed):
        self._store = store
        self._limits = limits
        self._host = host
        self._changed = changed
        self.entries = {}

    def resume(self):
        """Start what was active when the power went."""
        for instance in self._store.instances():
            record = self._store.load(instance)
            entry = self.entries[instance] = Entry(INSTALLED, _RESULT_INSTALLED, record)
            if record["active"]:
                self._start(instance, entry)

    def poll(self, now):
        """Drop uploads that have stopped coming."""
        for instance, entry in self.entries.items():
            if entry.upload is not None and now - entry.upload.touched > _UPLOAD_PATIENCE_MS:
                self._reject(instance, PackageError(result.CONNECTION_LOST, "the package stopped coming"))

    def settled(self, instance, error):
        """A start of a service has ended. The first one of an update decides whether it stays."""
        entry = self.entries[instance]
        previous = entry.record.get("previous")
        if previous is None:
            return
        code = previous["code"]
        if error is None:
            del entry.record["previous"]
        else:
            self._stop(instance, entry)
            code = entry.record["code"]
            entry.record = previous
            entry.result = result.INSTALL_FAILED
            entry.error = "update failed: " + error
        try:
            self._store.save(instance, entry.record)
            self._store.discard(code)
        except OSError as failure:
            print("cannot settle an update:", repr(failure))  # it is settled again after the next start
        if error is not None:
            self._start(instance, entry)

    def receive(self, instance, offset, data, more):
        """Take a block of a result."""
        entry = self.entries[instance]
        if not offset:
            self._begin(instance, entry)
        elif entry.upload is None:
            raise RequestError(coap.INCOMPLETE, "begin with the first block")
        upload = entry.upload
        ended = upload.feed(offset, data, more, self._host.clock())
        if upload.failure is not None:
            self._reject(instance, upload.failure)
            if more:
                raise RequestError(coap.BAD_REQUEST, upload.failure.text)  # spare the rest of the way
            return
        if not ended:
            return
        self._end_upload(entry)
        entry.update = {
            "header": upload.header,
            "code": upload.name,
            "sha256": upload.sha256,
            "active": False,
        }
        self._enter(instance, DELIVERED, _RESULT_VERIFIED)

    def install(self, instance):
        """Make what was delivered the installed service at one moment.

        An active service is replaced: it is started again as soon as its update does not start.
        """
        entry = self.entries[instance]
        record = entry.update
        if record is None:
            raise RequestError(coap.METHOD_NOT_ALLOWED, "no package is delivered")
        before = entry.record
        old = codes(before) if before is not None else ()
        if before is not None and before["active"]:
            record["active"] = True
            record["previous"] = before.get("previous", before)  # the last one that did start
        try:
            self._store.save(instance, record)
        except OSError as error:
            self._reject(instance, PackageError(result.STORAGE_FULL, "flash: " + repr(error)))
            return
        entry.record = record
        entry.update = None
        entry.error = ""
        for code in old:
            if code not in codes(record):
                self._store.discard(code)
        self._enter(instance, INSTALLED, _RESULT_INSTALLED)
        if record["active"]:
            self._stop(instance, entry)
            self._start(instance, entry)

    def activate(self, instance):
        entry = self._installed(instance)
        if not entry.record["active"]:
            entry.error = ""
            self._set_active(instance, entry, True)
            self._start(instance, entry)

    def deactivate(self, instance):
        entry = self._installed(instance)
        if entry.record["active"]:
            self._set_active(instance, entry, False)
            self._stop(instance, entry)

    def uninstall(self, instance):
        """Stop the service and remove all of it, whatever its state."""
        entry = self.entries[instance]
        self._drop(entry)
        self._stop(instance, entry)
        if entry.record is not None:
            self._store.remove(instance)
            entry.record = None
        self._enter(instance, INITIAL, 0)

    def _begin(self, instance, entry):
        """Start an upload, in the place of one that may be there."""
        self._drop(entry)
        used = codes(entry.record) if entry.record else ()
        for letter in "abc":
            name = "s%d%s.mpy" % (instance, letter)
            if name not in used:
                break
        others = 0
        for other, known in self.entries.items():
            if other != instance and (known.record or known.update):
                others += 1

        def accept(header):
            self._limits.check(header, instance, others)

        upload = __import__("upload")
        entry.upload = upload.Upload(self._store, name, accept, self._limits.check_code, self._host.clock())
        self._enter(instance, DOWNLOADING, _RESULT_DOWNLOADING)

    def _installed(self, instance):
        entry = self.entries[instance]
        if entry.record is None:
            raise RequestError(coap.METHOD_NOT_ALLOWED, "nothing is installed")
        return entry

    def _set_active(self, instance, entry, active):
        entry.record["active"] = active
        try:
            self._store.save(instance, entry.record)
        except OSError as error:
            entry.record["active"] = not active
            raise RequestError(coap.UNAVAILABLE, "flash: " + repr(error))
        self._changed(instance)

    def _start(self, instance, entry):
        self._host.start(instance, entry.record, self._limits.quota(entry.record["header"]))

    def _stop(self, instance, entry):
        runner = self._host.runners.get(instance)
        if runner is not None:
            self._host.stop(instance)
            entry.error = runner.error
            entry.log = runner.log.text()

    def _drop(self, entry):
        """Forget what was not installed."""
        if entry.upload is not None:
            entry.upload.abort()
            self._end_upload(entry)
        if entry.update is not None:
            self._store.discard(entry.update["code"])
            entry.update = None

    def _end_upload(self, entry):
        """Forget an upload, and the code for uploads when no other is coming: that memory is the services'."""
        entry.upload = None
        for other in self.entries.values():
            if other.upload is not None:
                return
        for name in ("upload", "package"):
            sys.modules.pop(name, None)

    def _reject(self, instance, failure):
        """Say why a package is not taken. What was installed before stays."""
        entry = self.entries[instance]
        self._drop(entry)
        entry.error = failure.text
        self._enter(instance, INSTALLED if entry.record else INITIAL, failure.result)

    def _enter(self, instance, state, result):
        entry = self.entries[instance]
        entry.state = state
        entry.result = result
        self._changed(instance)
