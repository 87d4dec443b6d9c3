"""Starts the device whose `device.json` is in the folder given as the only argument, or in the current one."""

import sys

import board
from runtime import Device, Reboot


def main():
    try:
        device = Device(board.load(sys.argv[1] if len(sys.argv) > 1 else "."))
    except board.BoardError as error:
        print("cannot start:", error)
        sys.exit(2)
    try:
        device.run()
    except KeyboardInterrupt:
        pass
    except Reboot:
        reset()


def reset():
    """Start the board again. An emulated one ends with 3, and whoever emulates it starts it again."""
    import machine

    if hasattr(machine, "reset"):
        machine.reset()
    sys.exit(3)


main()
