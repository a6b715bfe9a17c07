"""What --json prints: JSON that every reader takes, which has no NaN and no Infinity."""

from __future__ import annotations

import json
import math


def json_text(value: object) -> str:
    """A value as JSON in several lines; numbers that JSON does not have become null."""
    return json.dumps(_finite(value), indent=2, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
