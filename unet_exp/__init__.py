"""An experiment bench for U-Nets. This module imports nothing, so that the command line stays quick."""

__version__ = "0.1.0"
