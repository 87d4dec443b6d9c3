"""Answers the gateway's requests: read, write, execute, create, delete, observe (LwM2M 1.1 section 6.3, 6.4).

Turns CoAP requests into calls on the tree of objects and values into payloads, in blocks where they are
large (RFC 7959), and sends notifications (RFC 7641). Does no I/O.
"""

from binascii import crc32

import coap
import senml
from coap import Message, RequestError
from micropython import const

_MAX_BLOCK = const(6)  # 1024 bytes
_MAX_OBSERVATIONS = const(24)

# Fields of an observation: a list, because an instance costs three times the RAM.
_PATH = const(0)
_ADDRESS = const(1)
_TOKEN = const(2)
_ACCEPT = const(3)
_SEQUENCE = const(4)
_DIRTY = const(5)
_WAITING = const(6)
_CHECKSUM = const(7)


class Server:
    """`refused()` is called when the gateway resets a notification: it may not know the device any more."""

    def __init__(self, tree):
        self._tree = tree
        self.refused = None
        self._observations = []
        self._large = None  # (path, accept, format, payload) of the read that is served in blocks
        self._methods = {
            coap.GET: self._get,
            coap.PUT: self._put,
            coap.POST: self._post,
            coap.DELETE: self._delete,
        }

    def handle(self, message, address, now):
        """The answer to one request; never raises."""
        answer = Message(coap.ACK, coap.CONTENT, 0)
        try:
            unknown = message.unknown_critical()
            if unknown is not None:
                raise RequestError(coap.BAD_OPTION, "option %d" % unknown)
            method = self._methods.get(message.code)
            if method is None:
                raise RequestError(coap.METHOD_NOT_ALLOWED)
            answer.code = coap.CHANGED
            method(message, _path(message), answer, address)
        except RequestError as error:
            answer = Message(coap.ACK, error.code, 0, payload=error.text.encode())
        except MemoryError:
            answer = Message(coap.ACK, coap.UNAVAILABLE, 0, payload=b"out of memory")
        except Exception as error:  # a fault of ours must cost one answer, not the device
            answer = Message(coap.ACK, coap.SERVER_ERROR, 0, payload=repr(error).encode())
        return answer

    def _get(self, message, path, answer, address):
        accept = message.option(coap.ACCEPT)
        if accept == coap.LINK_FORMAT:
            form, payload = accept, self._tree.links().encode()
        else:
            form, payload = self._payload(path, accept, message.option(coap.BLOCK2))
        answer.code = coap.CONTENT
        observe = message.option(coap.OBSERVE)
        if observe is not None:
            sequence = self._cancel(address, message.token, path)
            if observe == 0 and len(self._observations) < _MAX_OBSERVATIONS:
                checksum = crc32(payload)
                entry = [path, address, message.token, accept, sequence, False, False, checksum]
                self._observations.append(entry)
                answer.add(coap.OBSERVE, sequence)
        self._attach(answer, path, accept, form, payload, message.option(coap.BLOCK2))

    def _payload(self, path, accept, block):
        if block is not None and block >> 4 and self._large and self._large[:2] == (path, accept):
            return self._large[2:]
        base, records = self._tree.records(path)
        single = len(path) == 3 and len(records) == 1 and records[0][0] == str(path[2])
        if single and (accept is None or accept == coap.TEXT):
            return coap.TEXT, senml.to_text(records[0][1])
        if accept is None or accept == coap.SENML_CBOR:
            return coap.SENML_CBOR, senml.encode(base, records)
        raise RequestError(coap.NOT_ACCEPTABLE, "ask for 112, or 0 for one value")

    def _attach(self, answer, path, accept, form, payload, block):
        """Put `payload` into `answer`, or the block of it that was asked for."""
        answer.add(coap.CONTENT_FORMAT, form)
        exponent = _MAX_BLOCK if block is None else min(block & 7, _MAX_BLOCK)
        number = 0 if block is None else block >> 4
        start = number << exponent + 4
        end = start + (16 << exponent)
        if start and start >= len(payload):
            raise RequestError(coap.BAD_REQUEST, "no such block")
        more = end < len(payload)
        if more or block is not None:
            answer.add(coap.BLOCK2, number << 4 | more << 3 | exponent)
        if more:
            self._large = (path, accept, form, payload)
        elif self._large and self._large[:2] == (path, accept):
            self._large = None
        answer.payload = payload[start:end] if more or start else payload

    def _put(self, message, path, answer, address):
        if len(path) != 3:
            raise RequestError(coap.METHOD_NOT_ALLOWED, "write one resource")
        block = message.option(coap.BLOCK1)
        form = message.option(coap.CONTENT_FORMAT)
        if block is not None and block & 7 > _MAX_BLOCK:
            raise RequestError(coap.BAD_REQUEST, "blocks have at most 1024 bytes")
        if form == coap.OPAQUE:
            number, more = (0, False) if block is None else (block >> 4, bool(block & 8))
            offset = 0 if block is None else number << (block & 7) + 4
            self._tree.operation(path, "write_block")(path[1], path[2], offset, message.payload, more)
            if block is not None:
                answer.add(coap.BLOCK1, block)
                if more:
                    answer.code = coap.CONTINUE
        elif block is not None and (block >> 4 or block & 8):
            raise RequestError(coap.TOO_LARGE)
        elif form:
            raise RequestError(coap.UNSUPPORTED_FORMAT, "write text (0)")
        else:
            try:
                self._tree.operation(path, "write")(path[1], path[2], message.payload)
            except ValueError as error:
                raise RequestError(coap.BAD_REQUEST, str(error))

    def _post(self, message, path, answer, address):
        if len(path) == 1:
            number = self._tree.operation(path, "create")()
            answer.code = coap.CREATED
            answer.add(coap.LOCATION_PATH, str(path[0]))
            answer.add(coap.LOCATION_PATH, str(number))
        elif len(path) == 3:
            self._tree.operation(path, "execute")(path[1], path[2])
        else:
            raise RequestError(coap.METHOD_NOT_ALLOWED)

    def _delete(self, message, path, answer, address):
        if len(path) != 2:
            raise RequestError(coap.METHOD_NOT_ALLOWED)
        self._tree.operation(path, "delete")(path[1])
        answer.code = coap.DELETED

    # Observations

    def _cancel(self, address, token, path):
        """End the observation `token`, and that of the same path: an observer has no use for two.

        Returns the number for the first answer of one that takes its place: numbers must grow (RFC 7641 section 4.4).
        """
        sequence = 0
        for entry in self._observations[:]:
            if entry[_ADDRESS] == address and (entry[_TOKEN] == token or entry[_PATH] == path):
                self._observations.remove(entry)
                sequence = (entry[_SEQUENCE] + 1) & 0xFFFFFF
        return sequence

    def cancel_all(self):
        """Forget all observations, as a new registration demands (LwM2M 1.1 section 6.4.2)."""
        self._observations.clear()

    @property
    def observed(self):
        """Whether anything is observed."""
        return bool(self._observations)

    def changed(self, path):
        """Note that what `path` holds has changed; None for anything."""
        for entry in self._observations:
            known = entry[_PATH]
            if path is None or path[: len(known)] == known or known[: len(path)] == path:
                entry[_DIRTY] = True

    def flush(self, exchange, now):
        """Send the notifications that are due; the newest state, one at a time for each observation."""
        for entry in self._observations[:]:
            if entry[_DIRTY] and not entry[_WAITING]:
                if exchange.busy:
                    return
                self._notify(entry, exchange, now)

    def _notify(self, entry, exchange, now):
        entry[_DIRTY] = False
        path, accept = entry[_PATH], entry[_ACCEPT]
        message = Message(coap.CON, coap.CONTENT, 0, entry[_TOKEN])
        try:
            form, payload = self._payload(path, accept, None)
        except RequestError as error:
            message.code = error.code
        except MemoryError:
            entry[_DIRTY] = True
            raise
        except Exception as error:  # a fault of ours must cost one observation, not the device
            message.code = coap.SERVER_ERROR
            message.payload = repr(error).encode()
        else:
            checksum = crc32(payload)
            if checksum == entry[_CHECKSUM]:
                return
            entry[_CHECKSUM] = checksum
            entry[_SEQUENCE] = (entry[_SEQUENCE] + 1) & 0xFFFFFF
            message.add(coap.OBSERVE, entry[_SEQUENCE])
            self._attach(message, path, accept, form, payload, None)
        if message.code != coap.CONTENT:
            self._observations.remove(entry)
        entry[_WAITING] = True
        exchange.notify(message, entry[_ADDRESS], now, self._notified, entry)

    def _notified(self, entry, reply):
        entry[_WAITING] = False
        refused = reply is not None and reply.kind == coap.RST
        if (reply is None or refused) and entry in self._observations:
            self._observations.remove(entry)
        if refused:
            self.refused()


def _path(message):
    try:
        return tuple([int(text) for text in message.texts(coap.URI_PATH)])
    except ValueError:
        raise RequestError(coap.NOT_FOUND, "paths are numbers")
