"""The engine room: decode pool, bounded queue, one inference thread that alone touches the model, standard futures.

`job` is one recording on its way, `ready` forms batches of what waits, `pace` measures what a batch gains, `engine`
holds the threads, `events` is what it tells those who count, `contract` is what all need of an engine.
"""

from emotion.engine.batch_tuning import measure_batch_frames
from emotion.engine.contract import SpeechEngine
from emotion.engine.engine import Engine, EnginePlan
from emotion.engine.events import BatchPredicted, ClipSettled, Listener, Origin
from emotion.engine.job import Progress, Stage
from emotion.engine.times import ClipTimes, StageTimes

__all__ = [
    "BatchPredicted",
    "ClipSettled",
    "ClipTimes",
    "Engine",
    "EnginePlan",
    "Listener",
    "Origin",
    "Progress",
    "SpeechEngine",
    "Stage",
    "StageTimes",
    "measure_batch_frames",
]
