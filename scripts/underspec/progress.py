"""Logs the progress of long computations."""

import logging
import time


class Progress:
    """Logs a line every few seconds and at the end: what is done, and the seconds left."""

    def __init__(self, log: logging.Logger, total: int, done: int = 0, every: float = 10.0):
        self.log, self.total, self.start, self.every = log, total, done, every
        self.began = self.shown = time.monotonic()

    def show(self, done: int, what: str) -> None:
        """Log `what`, if it is time; `done` is in the units of the total."""
        now = time.monotonic()
        if now - self.shown < self.every and done < self.total:
            return
        self.shown = now
        left = (now - self.began) / (done - self.start) * (self.total - done)
        self.log.info("%s, %.0f s left", what, left)
