"""Experiments that chose the defaults; not part of the product."""
