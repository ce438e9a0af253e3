"""Exit codes, each with its meaning; the reference page is generated from them."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    OK = 0
    NOT_READY = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    FAULT = 70


MEANING = {
    Exit.OK: "Done.",
    Exit.NOT_READY: "Something that was waited for is not ready; the reasons are printed.",
    Exit.USAGE: "Something was typed wrong; the message says what and how to type it right.",
    Exit.UNREACHABLE: "The cluster or the control plane does not answer.",
    Exit.REFUSED: "The cluster or the control plane refuses our rights or the object.",
    Exit.FAULT: "A fault of Tailrace itself.",
}
