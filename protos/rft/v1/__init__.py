"""Generated code of the wire protocol rft.v1."""
