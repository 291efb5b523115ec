"""The writer thread: everything queued goes out in one write and one fdatasync per topic.

Group commit needs no timer: while one commit is on its way to the disk, the next one queues up.
The thread does little Python, since it shares the interpreter with the loop; outcomes go back
with one `call_soon_threadsafe` per commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

import structlog

from gateway.bus.embedded.folder import storage_error
from gateway.bus.embedded.messages import Append, Done, Failed, Finish, Grow, Item, Outcome, Probe, Roll
from gateway.bus.embedded.topic_writer import TopicWriter
from gateway.errors import OutcomeUnknown

log = structlog.get_logger("linkspan.log")

#: One commit takes about this many bytes from the queue, so that none waits for too long.
COMMIT_BYTES = 16 * 1024 * 1024


def _size(item: Item | None) -> int:
    return item.size if type(item) is Append else 0


class Writer:
    """The thread. `report` is called on it with the outcomes of each commit, in order."""

    def __init__(self, report: Callable[[list[Outcome]], None], *, sync: bool = True) -> None:
        self._report = report
        self._sync = sync
        self._queue: SimpleQueue[Item | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="linkspan-log-writer", daemon=True)
        self.put = self._queue.put

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Finish what is queued and end the thread; False when it did not end in time."""
        self._queue.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        queue, going = self._queue, True
        while going:
            items = [queue.get()]
            size = _size(items[0])
            while size < COMMIT_BYTES and not queue.empty():
                items.append(queue.get_nowait())
                size += _size(items[-1])
            going = items[-1] is not None
            outcomes: list[Outcome] = []
            pending: dict[TopicWriter, list[Append]] = {}
            for item in items:
                if isinstance(item, Append):
                    pending.setdefault(item.topic, []).append(item)
                elif item is not None:
                    self._commit(pending, outcomes)
                    pending = {}
                    self._control(item, outcomes)
            self._commit(pending, outcomes)
            if outcomes:
                self._report(outcomes)

    def _commit(self, pending: dict[TopicWriter, list[Append]], outcomes: list[Outcome]) -> None:
        for topic, appends in pending.items():
            try:
                outcomes += topic.commit(appends, self._sync)
            except Exception as error:  # a defect must not leave publishers waiting for ever
                log.exception("append failed unexpectedly", topic=topic.header.topic)
                topic.failed_generation = appends[-1].generation
                topic.distrust("an unexpected error")
                unknown = OutcomeUnknown(f"append to {topic.header.topic!r} failed: {type(error).__name__}")
                outcomes.append(Failed(topic, appends, unknown))

    def _control(self, item: Roll | Probe | Grow | Finish, outcomes: list[Outcome]) -> None:
        try:
            if isinstance(item, Grow):
                item.topic.grow(item.partitions)
            elif isinstance(item, Finish):
                item.topic.close()
                outcomes.append(Done(item))
            elif isinstance(item, Probe):
                item.topic.probe(item.size, outcomes)
                outcomes.append(Done(item))
            else:
                if item.topic.used:
                    outcomes.append(item.topic.roll())
                outcomes.append(Done(item))
        except OSError as error:
            if not isinstance(item, Grow):
                outcomes.append(Done(item, storage_error(error, f"segment of {item.topic.header.topic!r}")))
