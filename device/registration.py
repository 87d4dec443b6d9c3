"""The registration interface (LwM2M 1.1 section 6.2): register, update at half the lifetime, deregister.

A state machine without I/O: it sends through the exchange it was given and is moved on by `poll`.
"""

from os import urandom

import coap
from coap import Message
from micropython import const

_UNREGISTERED = const(0)
_REGISTERING = const(1)
_REGISTERED = const(2)
_UPDATING = const(3)
_CLOSED = const(4)

_FIRST_DELAY_MS = const(2000)
_LAST_DELAY_MS = const(300000)


class Registration:
    """Keeps the device registered.

    `resolve()` gives the server's address (OSError when it cannot), `on_registered()` is called after each
    new registration, `report(text)` with what a user should know.
    """

    def __init__(self, exchange, tree, endpoint, lifetime_s, resolve, on_registered, report):
        self._exchange = exchange
        self._tree = tree
        self._endpoint = endpoint
        self.lifetime_s = lifetime_s
        self._resolve = resolve
        self._on_registered = on_registered
        self._report = report
        self._state = _UNREGISTERED
        self._due = 0
        self._delay_ms = _FIRST_DELAY_MS
        self.address = None  # the server's, once it was resolved
        self._location = ()
        self._version = -1  # of the object list that the server knows
        self._sent_version = -1
        self._lifetime_known = True
        self._closed = None

    @property
    def registered(self):
        return self._state in (_REGISTERED, _UPDATING)

    def set_lifetime(self, lifetime_s):
        """Take another lifetime and tell the server with an update."""
        self.lifetime_s = lifetime_s
        self._lifetime_known = False
        self._due = 0

    def poll(self, now):
        """Send what is due. The time of the next call, None while an answer is awaited."""
        state = self._state
        if state == _REGISTERED and (now >= self._due or self._version != self._tree.version):
            self._update(now)
        elif state == _UNREGISTERED and now >= self._due:
            self._register(now)
        if self._state in (_REGISTERED, _UNREGISTERED):
            return self._due
        self._now = now
        return None

    def trigger(self):
        """Update at the next poll if the device is registered."""
        if self._state == _REGISTERED:
            self._due = 0

    def close(self, now, done):
        """Deregister, then call `done`; at once when there is nothing to deregister from."""
        self._closed = done
        if self.registered:
            self._send(coap.DELETE, self._location, now)
        else:
            done()
        self._state = _CLOSED

    def _register(self, now):
        try:
            self.address = self._resolve()
        except OSError as error:
            self._retry(now, "cannot resolve the server: " + repr(error))
            return
        self._state = _REGISTERING
        query = "ep=%s&lt=%d&lwm2m=1.1&b=U" % (self._endpoint, self.lifetime_s)
        self._send(coap.POST, ("rd",), now, query.split("&"), True)

    def _update(self, now):
        self._state = _UPDATING
        queries = () if self._lifetime_known else ("lt=%d" % self.lifetime_s,)
        self._lifetime_known = True
        self._send(coap.POST, self._location, now, queries, self._version != self._tree.version)

    def _send(self, code, path, now, queries=(), links=False):
        message = Message(coap.CON, code, 0)
        for segment in path:
            message.add(coap.URI_PATH, segment)
        for query in queries:
            message.add(coap.URI_QUERY, query)
        if links:
            message.add(coap.CONTENT_FORMAT, coap.LINK_FORMAT)
            message.payload = self._tree.links().encode()
        self._sent_version = self._tree.version
        self._now = now
        self._exchange.request(message, self.address, now, self._answered, code)

    def _answered(self, code, reply):
        """Take the answer to the request with the method `code`; `reply` is None when there was none."""
        if code == coap.DELETE:
            self._closed()
        elif self._state == _REGISTERING:
            self._registered_or_not(reply)
        elif self._state == _UPDATING:
            self._updated_or_not(reply)

    def _registered_or_not(self, reply):
        location = reply.texts(coap.LOCATION_PATH) if reply and reply.code == coap.CREATED else ()
        if location:
            self._location = location
            self._on_registered()
            self._accepted()
            self._report("registered as %s at /%s" % (self._endpoint, "/".join(location)))
        elif reply and reply.code == coap.FORBIDDEN:
            self._retry(self._now, "the server refuses %s: enrol it there" % self._endpoint)
        else:
            self._retry(self._now, "registration failed, " + _why(reply))

    def _updated_or_not(self, reply):
        if reply and reply.code == coap.CHANGED:
            self._accepted()
        else:
            self._report("update failed, %s: registering anew" % _why(reply))
            self._state = _UNREGISTERED
            self._due = 0

    def _accepted(self):
        self._state = _REGISTERED
        self._delay_ms = _FIRST_DELAY_MS
        self._version = self._sent_version
        self._due = self._now + self.lifetime_s * 500

    def _retry(self, now, text):
        """Try again after a growing delay of which a random half keeps devices apart."""
        half = self._delay_ms // 2
        delay = half + int.from_bytes(urandom(3), "big") % (half + 1)
        self._report("%s; trying again in %d s" % (text, (delay + 999) // 1000))
        self._delay_ms = min(self._delay_ms * 2, _LAST_DELAY_MS)
        self._state = _UNREGISTERED
        self._due = now + delay


def _why(reply):
    if reply is None:
        return "no answer"
    return "answer %d.%02d" % (reply.code >> 5, reply.code & 31)
