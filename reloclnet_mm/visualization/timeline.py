"""What a picture of a query shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Timeline:
    """What is drawn of a query.

    Attributes:
        query: The sentence.
        video_name: Of its own video.
        duration: Of it, seconds.
        truth: (A, 2), annotated moments, seconds.
        moments: (n, 2), SVMR, best first, seconds.
        scores: (n,), of them.
        start_prob: (L,), that the moment starts at a clip; None: not known.
        end_prob: (L,), that it ends there.
        seconds_per_clip: Length of a clip.
        in_corpus: VCMR, best first: a line each, and whether it is of the right video.
    """

    query: str
    video_name: str
    duration: float
    truth: np.ndarray
    moments: np.ndarray
    scores: np.ndarray
    start_prob: np.ndarray | None
    end_prob: np.ndarray | None
    seconds_per_clip: float
    in_corpus: Sequence[tuple[str, bool]]
