"""LwM2M objects as declarative classes: id, name, and each resource's id, name, type, access and multiplicity.

Sources: OMA LwM2M registry (objects 1, 3, 4, 9, 15, 33xx), FITA's public forms (35001, 35003), and
docs/device-protocol.md (35010, resources 27510 to 27514 of object 9).
"""
