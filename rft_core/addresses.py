"""Addresses of workers: `host:port`, `unix:/path` or `unix-abstract:name`, as gRPC writes them."""

from __future__ import annotations

import ipaddress

from rft_core.errors import ConfigError


def is_on_host(address: str) -> bool:
    """Whether only processes on this machine can reach `address`: a unix socket or loopback.

    A name other than `localhost` counts as off-host, because what it resolves to may change.
    ConfigError if it is no address.
    """
    if address.startswith(("unix:", "unix-abstract:")):
        if not address.partition(":")[2].strip("/"):
            raise ConfigError(f"'{address}' names no socket; write unix:/path/to.sock or unix-abstract:name")
        return True
    host = split_host_port(address)[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def split_host_port(address: str) -> tuple[str, int]:
    """`("::1", 7070)` of `[::1]:7070`. ConfigError if the address has no port from 0 to 65535."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"'{address}' is not an address; write host:port, unix:/path/to.sock or unix-abstract:name")
    if ":" in host and not bracketed:
        raise ConfigError(f"'{address}' is not an address; write an IPv6 host in brackets, as in [::1]:7070")
    return host.strip("[]"), int(port)
