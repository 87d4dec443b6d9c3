"""What a segment file can be refused for."""


class SegmentError(Exception):
    """The file is damaged, of another version, or reaches beyond its memory. The text says which."""
