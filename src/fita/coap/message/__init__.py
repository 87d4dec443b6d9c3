"""The message layer (RFC 7252 sections 3 and 4): format, options, retransmission, duplicates. No I/O, no clock."""
