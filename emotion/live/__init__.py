"""The microphone: a rolling window of emotion while somebody speaks, and the recording of it at the end."""

from emotion.live.session import LiveMoment, LiveOptions, LiveSession

__all__ = ["LiveMoment", "LiveOptions", "LiveSession"]
