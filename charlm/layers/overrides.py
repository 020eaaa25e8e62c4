"""Finds which of a class's methods its subclasses override."""


def overrides(cls: type, names: list[str], since: str) -> bool:
    """Returns whether a class defines one of `names` below the class that defines `since`."""
    return min(_depth(cls, name) for name in names) < _depth(cls, since)


def _depth(cls, name):
    """Counts the bases from a class up to the one that defines an attribute."""
    return next(k for k, base in enumerate(cls.__mro__) if name in vars(base))
