"""Context model, range coder and segments: codes to bytes and back."""
