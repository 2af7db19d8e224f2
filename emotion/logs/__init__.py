"""Log lines of the program, each with the id of the request that it belongs to."""

from emotion.logs.logs import Format, is_ours, say, set_up_logs

__all__ = ["Format", "is_ours", "say", "set_up_logs"]
