"""Hosts samplers and graders of rft-engine behind gRPC."""

__version__ = "0.1.0"
