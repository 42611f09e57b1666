"""What a command or function does where nothing else is said."""

DEFAULT_QUALITY = 50
DEFAULT_EFFORT = 5
TUNES = ("psnr", "ssim")  # what the search can try to keep, see codec.encode.tuning
DEFAULT_MODEL = "photo"
AUTO_MODEL = "auto"
MAX_PIXELS = 268_435_456
INVENTS_BELOW = 30  # quality under which a realistic decode may invent more than texture
