"""What goes wrong with one event under a transform."""

from __future__ import annotations


class Refusal(Exception):
    """A step cannot be applied to this event; `str()` is the reason. Inside of this package only."""


class StepFailed(Exception):
    """A step could not be applied; the event is as it was.

    `step` counts from 0, `name` is the step's kind (`mask`), `reason` is for people.
    """

    def __init__(self, step: int, name: str, reason: str) -> None:
        super().__init__(f"step {step + 1} ({name}): {reason}")
        self.step, self.name, self.reason = step, name, reason
