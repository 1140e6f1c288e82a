"""Decoding of small pictures with NumPy alone: done before torch would be imported."""
