"""Hostile `.rnc` and weights files, and the script that makes them."""
