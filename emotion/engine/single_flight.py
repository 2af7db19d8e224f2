"""Recordings of equal sound that are in work at the same time: one is computed, the others wait for it."""

from emotion.engine.job import Job


class SingleFlight:
    """Which job is computed for each key, and which wait for it; not for several threads at once.

    A job that wants the embeddings of all frames waits only for one that keeps them.
    """

    def __init__(self) -> None:
        self._leaders: dict[tuple[str, bool], Job] = {}
        self._followers: dict[Job, list[Job]] = {}

    def join(self, job: Job, key: str) -> bool:
        """Whether this job has to be computed; if not, it waits for an equal one that is."""
        for keeps_frames in (True, False):
            leader = self._leaders.get((key, keeps_frames))
            if leader is not None and (keeps_frames or not job.request.keeps_frames):
                self._followers[leader].append(job)
                return False
        job.key = key
        self._leaders[key, job.request.keeps_frames] = job
        self._followers[job] = []
        return True

    def end(self, leader: Job) -> list[Job]:
        """Those that followed it, now that it is over; none of one that leads nobody."""
        followers = self._followers.pop(leader, None)
        if followers is None or leader.key is None:
            return []
        del self._leaders[leader.key, leader.request.keeps_frames]
        return [job for job in followers if not job.is_over]
