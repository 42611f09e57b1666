"""The one exception of this package."""


class Error(ValueError):
    """A file cannot be read: damaged, truncated, hostile, or made by something this version does not know.

    The message is one line for people: what is wrong and, where there is something, what to do."""
