"""The codec: pictures <-> bitstream, in wings that follow the data."""

__version__ = "0.1.0"
