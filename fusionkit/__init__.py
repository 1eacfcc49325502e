"""Which views of a face, embedded, fused and smoothed how, recognise expression best, and is the difference real?"""

__version__ = "0.1.0"
