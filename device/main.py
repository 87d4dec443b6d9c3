"""Starts the device whose `device.json` is in the folder given as argument, or at the top of the flash."""

import gc
import sys

# Collecting often while code is loaded packs it closely; otherwise little pieces of it lie all over the heap.
gc.threshold(1024)


def start(folder):
    """The device of `folder`, ready to run; None when its `device.json` cannot be used."""
    import config

    try:
        board = config.load(folder)
    except config.ConfigurationError as error:
        print("cannot start:", error)
        return None
    finally:
        sys.modules.pop("config")  # it has done its work, and its memory is needed
    from runtime import Device

    return Device(board)


def main():
    device = start(sys.argv[1] if len(sys.argv) > 1 else "")
    if device is None:
        sys.exit(2)
    status = 3
    try:
        device.run()
    except KeyboardInterrupt:
        return
    except Exception as error:  # a fault of the runtime; its services are started again with it
        sys.print_exception(error)
        status = 1
    import machine

    if hasattr(machine, "reset"):
        machine.reset()
    sys.exit(status)  # whoever emulates the board starts it again after 3


if __name__ == "__main__":
    main()
