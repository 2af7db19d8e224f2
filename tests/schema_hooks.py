"""What schemathesis cannot know of the API: what a recording is. Most are sound, some are not."""

import schemathesis
from hypothesis import strategies as st

from emotion.audio import wav_bytes
from tests.fakes import loud_clip, turning_clip

SOUNDS = st.sampled_from([wav_bytes(loud_clip(0.3)), wav_bytes(loud_clip(1.0)), wav_bytes(turning_clip())])
TYPES = (
    "application/octet-stream",
    "application/ogg",
    "audio/wav",
    "audio/mpeg",
    "audio/mp4",
    "audio/flac",
    "audio/ogg",
    "audio/webm",
    "video/mp4",
    "video/webm",
)

for media_type in TYPES:
    schemathesis.openapi.media_type(media_type, SOUNDS)
schemathesis.openapi.format("binary", SOUNDS)


@schemathesis.hook
def map_headers(context, headers):  # noqa: ARG001 - the library names these parameters
    """Half of those who send a preference want a job."""
    if headers and "Prefer" in headers and len(headers["Prefer"]) % 2 == 0:
        return {**headers, "Prefer": "respond-async"}
    return headers
