"""A laboratory for P2P and ISP cooperation: P4P trials with real parts on one Linux machine."""

__version__ = "0.1.0"
