"""The microphone: a rolling window of emotion while somebody speaks, and the recording of it at the end."""

from emotion.live.session import LiveMoment, LiveSession

__all__ = ["LiveMoment", "LiveSession"]
