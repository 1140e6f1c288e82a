"""`python -m rnnconv_codec` is the `rnncodec` command."""

from rnnconv_codec.cli import main

if __name__ == "__main__":
    main()
