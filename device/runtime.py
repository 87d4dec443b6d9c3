"""Puts the device together and runs it: one UDP socket, one loop that sleeps until something is due."""

import gc
import select
import socket
import time

import system
from exchange import Exchange
from host import Host
from installer import Installer
from ipso import Port, Ports
from limits import Limits
from micropython import const
from objects import Tree
from registration import Registration
from server import Server
from software import Software
from store import Store

_DATAGRAM = const(1152)  # RFC 7252 section 4.6
_DATAGRAMS_A_TURN = const(8)
_MEASURE_MS = const(1000)  # how often sensors are measured for their observers
_IDLE_MS = const(30000)
_FAREWELL_MS = const(3000)
_COLLECT_AFTER = const(8192)


class Device:
    """The device of `board`, a `board.Board`."""

    def __init__(self, board):
        self._last = time.ticks_ms()
        self._now = 0
        self._slept_ms = 0
        self._measured = 0
        self._rebooting = False
        self._spare = bytearray(_DATAGRAM)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._poller = select.poll()
        self._poller.register(self._socket, select.POLLIN)
        self.tree = Tree()
        self.server = Server(self.tree)
        self.exchange = Exchange(self._send, self.server.handle)
        settings = board.settings
        self._gateway = settings["gateway"]
        self.registration = Registration(
            self.exchange,
            self.tree,
            settings["endpoint"],
            settings["lifetime_s"],
            self._resolve,
            self.server.cancel_all,
            print,
        )
        ports = Ports(self.tree, self.server.changed)
        store = Store(board.folder + "/services", settings["storage_bytes"])
        self.host = Host(store.module, board, ports, self.clock, self._service_changed)
        limits = Limits(settings, store, self.host)
        self.installer = Installer(store, limits, self.host, self._service_changed)
        self.host.settled = self.installer.settled
        self.server.refused = self.registration.trigger
        self._sensors = []
        for sensor in board.sensors:
            port = Port(sensor.capability, sensor.unit, 5700, sensor.read)
            ports.add(sensor.object_id, port)
            self._sensors.append(port.path)
        self._fill(board, limits)
        limits.seal()
        self.installer.resume()

    def _fill(self, board, limits):
        """Put the objects of the device into the tree; those of sensors and services come and go."""
        objects = self.tree.objects
        entries = self.installer.entries
        objects[1] = system.ServerObject(self.registration)
        objects[3] = system.DeviceObject(board.settings, self._reboot)
        objects[4] = system.connectivity(board)
        objects[9] = Software(self.tree, self.installer, self.host, self.server.changed)
        objects[15] = system.capabilities(board)
        objects[35003] = system.Monitoring(entries, self.host, self._busy_percent)
        objects[35010] = limits

    def clock(self):
        """Milliseconds since the start; unlike ticks they do not wrap around."""
        ticks = time.ticks_ms()
        self._now += time.ticks_diff(ticks, self._last)
        self._last = ticks
        return self._now

    def run(self):
        """Serve until interrupted (KeyboardInterrupt) or told to reboot (returns); then say goodbye."""
        gc.threshold(_COLLECT_AFTER)
        try:
            while not self._rebooting:
                try:
                    self._turn()
                except MemoryError:
                    if not self.host.relieve():
                        print("out of memory: starting anew")
                        break
        finally:
            self._farewell()

    def _turn(self):
        """Do what is due, then sleep until something is, or a datagram comes."""
        due = self.host.step()
        now = self.clock()
        if now - self._measured >= _MEASURE_MS and self.server.observed:
            self._measured = now
            for path in self._sensors:
                self.server.changed(path)
        self.installer.poll(now)
        self.server.flush(self.exchange, now)
        idle = now + (_MEASURE_MS if self.server.observed else _IDLE_MS)
        for other in (self.registration.poll(now), self.exchange.poll(now), idle):
            if other is not None and (due is None or other < due):
                due = other
        self._wait(due)

    def _wait(self, due):
        before = self.clock()
        ready = self._poller.poll(max(due - before, 0))
        self._slept_ms += self.clock() - before
        if ready:
            self._receive()

    def _receive(self):
        for _ in range(_DATAGRAMS_A_TURN):
            try:
                data, address = self._socket.recvfrom(_DATAGRAM)
            except OSError:
                return
            except MemoryError:  # free memory is in pieces: give way, so that one of them is large enough
                self._spare = None
                gc.collect()
                data, address = self._socket.recvfrom(_DATAGRAM)
            if address == self.registration.address:
                self.exchange.receive(data, address, self.clock())
            if self._spare is None:
                data = None
                gc.collect()
                self._spare = bytearray(_DATAGRAM)

    def _send(self, datagram, address):
        try:
            self._socket.sendto(datagram, address)
        except OSError as error:
            print("cannot send:", repr(error))  # it is sent again later, as if it had been lost on the way

    def _resolve(self):
        host, port = self._gateway
        return socket.getaddrinfo(host, port)[0][-1]

    def _farewell(self):
        """Stop the services and deregister, within three seconds."""
        self.host.stop_all()
        end = self.clock() + _FAREWELL_MS
        done = []
        self.registration.close(self.clock(), lambda: done.append(True))
        while not done and self.clock() < end:
            self.exchange.poll(self.clock())
            self._wait(min(end, self.clock() + 100))
        print("stopped")

    def _reboot(self):
        self._rebooting = True

    def _busy_percent(self):
        now = self.clock()
        return 100 - 100 * self._slept_ms / now if now else 0.0

    def _service_changed(self, instance):
        self.server.changed((9, instance))
