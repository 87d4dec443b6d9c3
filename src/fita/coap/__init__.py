"""CoAP (RFC 7252, 7641, 7959): messages, reliability, blocks, observations and the UDP transport.

Enter by `fita.coap.endpoint.CoapEndpoint`; `fita.coap.interfaces` says what it promises. Messages,
reliability and blocks do no I/O and read no clock; `endpoint` joins them with a loop and a socket.
"""
