"""Writing predictions as TVR's evaluation server reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import METRICS
from reloclnet_mm.utils.fileio import write_json


def ranked_list(predicted: dict[str, Any]) -> list[list[float]]:
    """List predictions as [video id, start s, end s, score]; ranked videos get 0 for both times.

    Args:
        predicted: ``video_ids``, ``scores`` and, for moments, ``moments``.
    """
    video_ids, scores = predicted['video_ids'].tolist(), predicted['scores'].tolist()
    moments = predicted['moments'].tolist() if 'moments' in predicted else [[0, 0]] * len(scores)
    return [
        [video_id, *moment, score]
        for video_id, moment, score in zip(video_ids, moments, scores, strict=True)
    ]


@METRICS.register_module()
class TVRSubmission(BaseMetric):
    """Write the ranked lists to a JSON file in the format of TVR's submissions.

    The file holds ``video2idx`` and, for each task, a list of ``{desc_id, desc, predictions}``.
    Queries without a known video have no SVMR. It reports no number.

    Args:
        out_file: The JSON file.
        **kwargs: Passed to mmengine's BaseMetric.
    """

    def __init__(self, out_file: str, **kwargs: Any) -> None:
        super().__init__(**dict(prefix='submission') | kwargs)
        self.out_file = Path(out_file)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the ranked lists.

        Raises:
            InputError: The results are those of another package's model.
        """
        for sample in data_samples:
            if 'query_id' not in sample:
                raise InputError(
                    f'TVRSubmission: a result holds {sorted(sample)} and no query_id; only ranked '
                    "lists of this package's models can be written. For a model of another package "
                    'leave --submission out; --dump writes its results'
                )
            lists = {
                task: ranked_list(sample[f'pred_{task.lower()}'])
                for task in ('VR', 'SVMR', 'VCMR')
                if f'pred_{task.lower()}' in sample
            }
            self.results.append(dict(desc_id=sample['query_id'], desc=sample['query'], lists=lists))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Write the file."""
        corpus = self.dataset_meta['corpus']
        submission: dict[str, Any] = dict(
            video2idx=dict(zip(corpus.video_names, corpus.video_ids, strict=True))
        )
        for result in results:
            for task, predictions in result['lists'].items():
                submission.setdefault(task, []).append(
                    dict(desc_id=result['desc_id'], desc=result['desc'], predictions=predictions)
                )
        write_json(self.out_file, submission)
        print_log(f'predictions of {len(results)} queries: {self.out_file}', logger='current')
        return {}
