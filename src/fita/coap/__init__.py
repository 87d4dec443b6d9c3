"""CoAP (RFC 7252, 7641, 7959): messages, reliability, blocks, observations and the UDP transport.

Enter by `fita.coap.endpoint.CoapEndpoint`; `fita.coap.interfaces` says what it promises. The layers are those of
RFC 7252 section 2: `request` upon `message` upon `transport`. Messages, reliability and blocks do no I/O and read
no clock; `endpoint` joins the layers with a loop and a socket.
"""
