"""What counts as the same: the owner, the decoded samples, the model, how it computes, and how the clip is cut."""

import hashlib
import json
import secrets

from emotion.analysis.windows import Plan
from emotion.audio import Clip
from emotion.model import ModelCard

# To be raised when the same model comes to compute other numbers; what was kept before is then no longer found.
_VERSION = 2
# Two calibrations of int8 share the fingerprint of their model, so what one start computed is not for the next.
_THIS_START = secrets.token_hex(8)
_BLOCK_SAMPLES = 1 << 20


def prediction_key(clip: Clip, card: ModelCard, plan: Plan, owner: str = "") -> str:
    """A SHA-256 in hexadecimal digits over everything that a prediction depends on, and whose it is.

    The name of the recording and its container are no part of it, nor is what only reads a prediction: granularity,
    smoothing, margins. A second of sound takes about 0.1 ms.
    """
    how = {
        "version": _VERSION,
        "model": card.record() | {"labels": card.labels},
        "plan": [plan.exact_limit_s, plan.window_s, plan.context_s],
        "owner": owner,
        "start": _THIS_START if card.precision == "int8" else None,
    }
    digest = hashlib.sha256(json.dumps(how, sort_keys=True).encode())
    for start in range(0, len(clip.samples), _BLOCK_SAMPLES):
        digest.update(clip.samples[start : start + _BLOCK_SAMPLES].tobytes())
        clip.forget(start, start + _BLOCK_SAMPLES)
    return digest.hexdigest()
