"""From loaded samples to the batches of two stages."""

from typing import Any

from mmengine.model import BaseDataPreprocessor


class StagedDataPreprocessor(BaseDataPreprocessor):
    """Packs the inputs of a first stage as it does by itself, and beside them those of the second.

    In training, inputs are those of the second stage alone. Otherwise they are those of the first,
    and the second stage has its own under ``second_stage``, or the same where there are none.

    Args:
        first: Data preprocessor of the first stage.
        second: Data preprocessor of the second stage.
    """

    def __init__(self, first: BaseDataPreprocessor, second: BaseDataPreprocessor) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Pack what the pipelines loaded.

        Args:
            data: As the data preprocessors of the stages take it.
            training: Whether the model is to be trained on it.
        """
        if training:
            return self.second(data, training)
        inputs = dict(data['inputs'])
        other = inputs.pop('second_stage', inputs)
        first = self.first({**data, 'inputs': inputs})
        second = self.second({**data, 'inputs': other})['inputs']
        return {**first, 'inputs': {**first['inputs'], 'second_stage': second}}
