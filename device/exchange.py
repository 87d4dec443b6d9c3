"""Reliable exchange of CoAP messages in both roles (RFC 7252 section 4): retransmission and deduplication.

Datagrams come in through `receive` and leave through the `send` it was given; time comes in as a
parameter. Does no I/O and knows no resources.
"""

from os import urandom

import coap
from micropython import const

_ACK_TIMEOUT_MS = const(2000)
_RANDOM_MS = const(1000)  # ACK_RANDOM_FACTOR 1.5
_MAX_RETRANSMIT = const(4)
_RESPONSE_WAIT_MS = const(60000)  # for a separate response, after its request was acknowledged
_EXCHANGE_LIFETIME_MS = const(247000)
_REMEMBERED = const(8)  # answers kept for duplicates; a peer has one request under way (NSTART)
_MAX_OUTSTANDING = const(4)

# Fields of an outstanding confirmable message of ours: a list, because an instance costs three times the RAM.
_MID = const(0)
_ADDRESS = const(1)
_DATAGRAM = const(2)  # None once it was acknowledged and only the response is missing
_DUE = const(3)
_TIMEOUT = const(4)
_TRIES = const(5)
_TOKEN = const(6)  # None for a notification, which ends with its acknowledgement
_DONE = const(7)
_CONTEXT = const(8)


class Exchange:
    """`handle(message, address, now)` answers a request with a Message, whose kind, id and token are set here.

    `request` and `notify` report their end with ``done(context, reply)``: the response, the acknowledgement
    or the reset as Message, None when the peer stayed silent.
    """

    def __init__(self, send, handle):
        self._send = send
        self._handle = handle
        self._outstanding = []
        self._answered = []  # (address, mid, answer, at_ms): only of requests that change something
        self._mid = int.from_bytes(urandom(2), "big")

    @property
    def busy(self):
        """Whether so many messages of ours are unanswered that notifications have to wait."""
        return len(self._outstanding) >= _MAX_OUTSTANDING

    def request(self, message, address, now, done, context=None):
        """Send a confirmable request with a fresh random token."""
        message.token = urandom(8)
        self._start(message, address, now, message.token, done, context)

    def notify(self, message, address, now, done, context=None):
        """Send a confirmable notification, whose token is the observation's."""
        self._start(message, address, now, None, done, context)

    def _start(self, message, address, now, token, done, context):
        message.kind = coap.CON
        message.mid = self._mid = (self._mid + 1) & 0xFFFF
        timeout = _ACK_TIMEOUT_MS + int.from_bytes(urandom(2), "big") % _RANDOM_MS
        datagram = message.encode()
        self._outstanding.append(
            [message.mid, address, datagram, now + timeout, timeout, 0, token, done, context]
        )
        self._send(datagram, address)

    def poll(self, now):
        """Retransmit what is due and give up what is too old. The time of the next call, None without one."""
        first = None
        for entry in self._outstanding:
            if entry[_DUE] <= now:
                if entry[_DATAGRAM] is None or entry[_TRIES] >= _MAX_RETRANSMIT:
                    self._end(entry, None)
                    return now
                entry[_TRIES] += 1
                entry[_TIMEOUT] *= 2
                entry[_DUE] = now + entry[_TIMEOUT]
                self._send(entry[_DATAGRAM], entry[_ADDRESS])
            if first is None or entry[_DUE] < first:
                first = entry[_DUE]
        return first

    def receive(self, data, address, now):
        """Take one datagram. A broken one is dropped, or reset when it asks for an acknowledgement."""
        try:
            message = coap.decode(data)
        except ValueError:
            if len(data) >= 4 and data[0] & 0xF0 == 0x40:
                self._reset(data[2] << 8 | data[3], address)
            return
        if message.code == coap.EMPTY:
            self._empty(message, address, now)
        elif message.code < 0x20:
            if message.kind <= coap.NON:
                self._serve(message, address, now)
        else:
            self._response(message, address)

    def _empty(self, message, address, now):
        if message.kind == coap.CON:
            self._reset(message.mid, address)  # a ping
            return
        for entry in self._outstanding:
            if entry[_MID] == message.mid and entry[_ADDRESS] == address:
                if entry[_TOKEN] is not None and message.kind == coap.ACK:
                    entry[_DATAGRAM] = None
                    entry[_DUE] = now + _RESPONSE_WAIT_MS
                else:
                    self._end(entry, message)
                return

    def _response(self, message, address):
        for entry in self._outstanding:
            if entry[_TOKEN] is not None and entry[_TOKEN] == message.token and entry[_ADDRESS] == address:
                if message.kind == coap.CON:
                    self._send(coap.Message(coap.ACK, coap.EMPTY, message.mid).encode(), address)
                self._end(entry, message)
                return
        if message.kind == coap.CON:
            self._reset(message.mid, address)

    def _end(self, entry, reply):
        self._outstanding.remove(entry)
        entry[_DONE](entry[_CONTEXT], reply)

    def _reset(self, mid, address):
        self._send(coap.Message(coap.RST, coap.EMPTY, mid).encode(), address)

    def _serve(self, message, address, now):
        for known, mid, answer, at in self._answered:
            if mid == message.mid and known == address and now - at < _EXCHANGE_LIFETIME_MS:
                self._send(answer, address)
                return
        response = self._handle(message, address, now)
        response.kind = coap.ACK if message.kind == coap.CON else coap.NON
        response.token = message.token
        if message.kind == coap.CON:
            response.mid = message.mid
        else:
            response.mid = self._mid = (self._mid + 1) & 0xFFFF
        answer = response.encode()
        if message.code != coap.GET:  # a repeated GET is answered afresh: RFC 7252 section 4.5, saves RAM
            if len(self._answered) >= _REMEMBERED:
                self._answered.pop(0)
            self._answered.append((address, message.mid, answer, now))
        self._send(answer, address)
