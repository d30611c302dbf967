"""The claims table as a section of ``report.html``."""

from __future__ import annotations

from collections.abc import Sequence

from ..analysis.results import Claim
from .markup import Html, table, tag
from .sections import note, section

CHIPS = {"supported": "better", "not supported": "worse", "undecided": "open"}


def claims(entries: Sequence[Claim]) -> Html:
    """What is claimed for video models, and what this run says; nothing where it was not asked."""
    if not entries:
        return Html("")
    head = ("policy", "claim", "verdict", "video is")
    rows = [
        (
            entry["policy"],
            entry["claim"],
            tag("b", entry["verdict"], class_=f"chip {CHIPS[entry['verdict']]}"),
            tag("span", entry["why"], class_="prose"),
        )
        for entry in entries
    ]
    small = note(
        "Supported: on every task behind the claim video beats the same policy without time, p "
        "corrected for this whole table (Holm). Not supported: on one of them it is no better "
        "(equivalent) or worse. Undecided: neither is shown at this n, or a task did not run, rows "
        "raised or are missing, or it carries no certificate that it needs time. Temporal "
        "coherence: jerk and jumps where chunks of actions join, of each task against a frame; "
        "less is better."
    )
    return section("claims", "Claims for video models", table(head, rows), small)
