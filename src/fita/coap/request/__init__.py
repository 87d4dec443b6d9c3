"""The request/response layer (RFC 7252 section 5): client, server, blocks and observations, upon `message`."""
