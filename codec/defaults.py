"""What a command or function does where nothing else is said."""

DEFAULT_QUALITY = 50
DEFAULT_EFFORT = 3
TUNES = ("eye", "psnr")  # what a file is to be best by: how it looks, or the least square error
DEFAULT_TUNE = "eye"
DEFAULT_MODEL = "eye"
AUTO_MODEL = "auto"
MAX_PIXELS = 268_435_456
INVENTS_BELOW = 30  # quality under which a realistic decode may invent more than texture
