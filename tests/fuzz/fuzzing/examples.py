"""Inputs that readers bore badly, each once: (reader, content)."""

from __future__ import annotations

FOUND: tuple[tuple[str, bytes], ...] = ()
