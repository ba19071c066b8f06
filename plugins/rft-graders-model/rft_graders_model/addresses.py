"""Checks the addresses that a run file gives, before anything is sent there."""

from __future__ import annotations

from urllib.parse import urlsplit


def checked_url(url: str) -> str:
    """The URL without white space around it. ValueError, with a sentence, if it is not one to send a grade to."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"this is not a URL ({error}); write https://host/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise ValueError("this is not a URL; write https://host/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL with a password in it would be stored with the run; take it out")
    return url


def shown(url: str) -> str:
    """The URL as errors show it: without its query, which may hold a key."""
    return url.partition("?")[0]
