"""Rate and quality of the codec beside other codecs."""
