"""charlm: train, sample, continue and understand character-level recurrent language models."""

from charlm import interrupt

interrupt.begin()  # before anything else is loaded, which takes seconds

__version__ = "0.1.0"
