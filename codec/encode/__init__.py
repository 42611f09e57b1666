"""From a picture to a bitstream."""
