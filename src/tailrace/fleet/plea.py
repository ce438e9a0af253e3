"""A proxy that asks for another key although its device is there: it is started again before it is obeyed. Pure.

containerboot takes every failure of a login for a bad key, also a control plane that is away: it writes its request and
waits ten minutes, whatever comes back meanwhile. Given another key it forgets who it was, and id and address with that.
But what it needs in order to be the same device is in its Secret still, so a start while the control plane answers mends
it. What waits serves nothing, so a start costs nothing either, and one alone would prove little: it may have met another
moment without control plane, of which the device list does not know yet.
"""

from __future__ import annotations

import enum
from datetime import datetime, timedelta

STARTS = 3
"""How often in a `WINDOW` it is started again; one that asks after that is really known no more."""

PAUSE = timedelta(seconds=30)  # between two starts: a login takes some seconds
WINDOW = timedelta(minutes=15)


class Answer(enum.Enum):
    """What the one that asks gets."""

    WAIT = enum.auto()  # nothing for now
    RESTART = enum.auto()  # its request is withdrawn, and it is started again as the device that it is
    OBEY = enum.auto()  # another key, and so another device


def choose_answer(note: str, now: datetime) -> Answer:
    """By the note of its former starts; for when the control plane answers and still has its device."""
    former = read_starts(note, now)
    if former and now - former[-1] < PAUSE:
        return Answer.WAIT
    return Answer.RESTART if len(former) < STARTS else Answer.OBEY


def read_starts(note: str, now: datetime) -> tuple[datetime, ...]:
    """The starts within the window, the last one last. What is no time counts as none."""
    try:
        times = [datetime.fromisoformat(text) for text in note.split()]
        return tuple(moment for moment in times if now - moment < WINDOW)
    except (ValueError, TypeError):
        return ()


def add_start(note: str, now: datetime) -> str:
    """The note with a start now; those that no longer count fall out."""
    return " ".join(moment.isoformat() for moment in (*read_starts(note, now), now))
