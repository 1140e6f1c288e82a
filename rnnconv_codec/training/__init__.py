"""The stages of training; nothing that encodes or decodes depends on them."""
