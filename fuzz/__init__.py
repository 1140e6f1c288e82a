"""Fuzzing of what reads `.rnc` files; see `make fuzz` and docs/RELIABILITY.md."""
