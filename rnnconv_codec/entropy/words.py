"""The unit of a segment, for those who only cut it."""

WORD_BYTES = 4
"""Segments are 32-bit words: they can be cut between two of them."""
