"""The engine's side of the wire `rft.v1`. Protobuf types stop here."""
