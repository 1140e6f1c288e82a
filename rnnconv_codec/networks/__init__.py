"""The ConvGRU cell and the networks of both presets."""
