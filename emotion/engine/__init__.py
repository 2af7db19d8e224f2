"""The engine room: decode pool, bounded queue, one inference thread that alone touches the model, standard futures.

`front` is what all need of an engine, and the bounded queue that each has; `engine` the threads of the one in this
process. `job` is one recording on its way, `ready` forms batches of what waits, `settlement` ends jobs from
the model, the cache or an equal recording, `batch_tuning` measures what a batch gains, `events` is what listeners are
told. `admission` decides who may submit and who waits, `following` tells how far a recording is. `recognizer` joins
settings, model and engine, and `batch` works through many recordings.
"""

from emotion.engine.admission import PATIENCE_S, Admission, ConcurrencyLimit, give_up
from emotion.engine.batch_tuning import measure_batch_frames
from emotion.engine.engine import Engine, EnginePlan
from emotion.engine.events import BatchPredicted, ClipSettled, Listener, Origin
from emotion.engine.following import follow, follow_async
from emotion.engine.front import EngineFront, SpeechEngine
from emotion.engine.job import Progress, QueuedJob
from emotion.engine.times import ClipTimes, StageTimes
from emotion.record import Stage

__all__ = [
    "PATIENCE_S",
    "Admission",
    "BatchPredicted",
    "ClipSettled",
    "ClipTimes",
    "ConcurrencyLimit",
    "Engine",
    "EngineFront",
    "EnginePlan",
    "Listener",
    "Origin",
    "Progress",
    "QueuedJob",
    "SpeechEngine",
    "Stage",
    "StageTimes",
    "follow",
    "follow_async",
    "give_up",
    "measure_batch_frames",
]
