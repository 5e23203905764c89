"""A training that was cut off and resumed ends with the very bits of one that was not."""

import pytest
from interrupted import (
    EVERY_ITERATION,
    HOOKS_OF_ALL,
    STEPS,
    difference,
    interruptible_config,
    outcome,
    train,
)

from reloclnet_mm.engine.checkpoint import install

# In each: two places where the training is cut off.
CASES = dict(
    epochs=({}, [('step', STEPS + 1), ('step', STEPS + 2)]),
    validations=({}, [('validating', 1), ('validated', 2)]),
    iterations=(EVERY_ITERATION, [('step', 2), ('step', 5)]),
    ends_of_epochs=(EVERY_ITERATION, [('step', STEPS), ('validating', 1)]),
    averaged_weights=(
        EVERY_ITERATION | dict(custom_hooks=[*HOOKS_OF_ALL, dict(type='EMAHook', momentum=0.1)]),
        [('step', 4), ('validating', 1)],
    ),
    accumulation=(
        EVERY_ITERATION | {'optim_wrapper.accumulative_counts': 4},
        [('step', 2), ('step', 4)],
    ),
    bfloat16=(
        EVERY_ITERATION | {'optim_wrapper.type': 'Bfloat16OptimWrapper'},
        [('step', 1), ('step', 4)],
    ),
)


@pytest.fixture(autouse=True)
def weights_only_loader():
    install()


@pytest.mark.parametrize('case', CASES)
def test_an_interrupted_training_ends_as_an_unbroken_one(case, corpus_folder, tmp_path):
    options, cuts = CASES[case]
    unbroken = train(interruptible_config(corpus_folder, tmp_path / 'a', options), 0)
    expected = outcome(unbroken)
    cfg = interruptible_config(corpus_folder, tmp_path / 'b', options)
    for number, cut in enumerate(cuts):
        train(cfg, number, resume=number > 0, cut=cut)
    resumed = train(cfg, 'last', resume=True)
    assert difference(expected, outcome(resumed)) == ''
