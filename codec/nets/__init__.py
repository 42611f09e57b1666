"""Networks in floating point, which know nothing of files."""
