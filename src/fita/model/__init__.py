"""Pure data that all layers share: no I/O, no protocol, no behaviour beyond checks and conversions."""
