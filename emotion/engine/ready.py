"""Jobs whose next window waits for inference, and the batches that are formed of them."""

from dataclasses import dataclass

from emotion.analysis.windows import Window
from emotion.engine.job import Job
from emotion.model import SpeechModel, num_frames

# Frames computed for each frame wanted. Zeros behind a short clip are computed like sound, so only clips of similar
# length go together.
MOST_PADDING = 1.25


@dataclass(frozen=True)
class BatchItem:
    """One window of one job in a batch, and the model of the batch."""

    job: Job
    window: Window
    model: SpeechModel


class ReadyQueue:
    """Jobs in the order of their deadlines; not for several threads at once."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        job.wait()
        self._jobs.append(job)

    def fills(self, most_frames: int) -> bool:
        """Whether a batch of what waits would leave no room for another clip like them."""
        frames = [job.next_frames for job in self._jobs]
        return bool(frames) and (len(frames) + 1) * max(frames) > most_frames

    def take(self, most_frames: int, model: SpeechModel) -> list[BatchItem]:
        """The window with the first deadline, and what fits beside it in `most_frames` with little padding.

        Jobs that have more windows wait on at once, jobs that are over are dropped. `model` is the one that jobs get
        which have not begun; all of a batch have the same.
        """
        waiting = sorted((job for job in self._jobs if not job.is_over), key=lambda job: job.deadline_s)
        self._jobs = waiting
        if not waiting:
            return []
        chosen = waiting[0].model or model
        parts: list[BatchItem] = []
        for job in waiting:
            while (job.model or model) is chosen and _fits(parts, job.next_frames, most_frames):
                parts.append(BatchItem(job, job.take_window(), chosen))
        taken = list(dict.fromkeys(part.job for part in parts))
        self._jobs = [job for job in waiting if job not in taken]
        for job in taken:
            if job.next_frames:
                self.put(job)
        return parts


def _fits(parts: list[BatchItem], frames: int, most_frames: int) -> bool:
    """Whether a window of so many frames may join a batch; the first always may."""
    if not frames or not parts:
        return frames > 0
    lengths = [*(num_frames(len(part.window.samples)) for part in parts), frames]
    padded = len(lengths) * max(lengths)
    return padded <= most_frames and padded <= MOST_PADDING * sum(lengths)
