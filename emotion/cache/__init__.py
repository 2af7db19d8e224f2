"""The cache room: what the model said of a sound is kept under the sound itself, so that no sound is computed twice.

`key` says what counts as the same, `packing` turns a prediction into bytes and back, `memory`, `disk` and `redis_store`
keep them, `predictions` joins a near store in memory with a far one that processes share.
"""

from emotion.cache.key import prediction_key
from emotion.cache.predictions import CacheStats, Found, PredictionCache, open_cache

__all__ = ["CacheStats", "Found", "PredictionCache", "open_cache", "prediction_key"]
