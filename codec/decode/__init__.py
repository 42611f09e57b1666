"""From a bitstream to a picture."""
