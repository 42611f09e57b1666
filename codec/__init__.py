"""The codec: pictures <-> bitstream, in wings that follow the data."""

__version__ = "0.2.0.dev0"
