"""The wireless network of a board whose `device.json` names no addresses."""


def network():
    """``(IP addresses, signal strength in dBm)``; nothing and 0 without a connection."""
    try:
        from network import WLAN

        wlan = WLAN(WLAN.IF_STA)
        return [wlan.ifconfig()[0]], wlan.status("rssi")
    except (ImportError, OSError):
        return [], 0
