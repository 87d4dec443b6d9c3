"""The gateway's LwM2M 1.1 server: registrations, operations on objects, software on devices. Above `fita.coap`.

`server.Lwm2mServer` is the entry: it keeps a session for each registration, which reads and observes the device
(`device`) and deploys to it (`service`). Refuses to know Kubernetes: the words upward are those of `fita.model`.
"""
