"""Batches of workers against those of mmengine's ``pseudo_collate``."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from tiny_corpus import CONFIG, corpus_dataset, query_dataset
from torch.utils.data import DataLoader

from reloclnet_mm.datasets import join_rows
from reloclnet_mm.registry import DATASETS

CFG = Config.fromfile(CONFIG)


def batch_of(samples):
    """The samples as one batch of a worker."""
    (batch,) = DataLoader(samples, len(samples), num_workers=1, collate_fn=join_rows)
    return batch


def assert_same(found, expected):
    """Equal bit for bit, and of the same types."""
    assert type(found) is type(expected)
    if isinstance(expected, BaseDataElement):
        assert_same(found.to_dict(), expected.to_dict())
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, x in expected.items():
            assert_same(found[name], x)
    elif isinstance(expected, list):
        for here, there in zip(found, expected, strict=True):
            assert_same(here, there)
    elif isinstance(expected, torch.Tensor | np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


def memories(found):
    """Where the tensors of a batch lie."""
    if isinstance(found, torch.Tensor):
        return {found.untyped_storage().data_ptr()}
    if isinstance(found, BaseDataElement):
        return memories(found.to_dict())
    inner = found.values() if isinstance(found, dict) else found
    return set().union(*map(memories, inner)) if isinstance(found, dict | list) else set()


def loaded(folder, name, **others):
    """The samples that the pipeline of a dataloader loads."""
    make = corpus_dataset if 'corpus' in name else query_dataset
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        return list(DATASETS.build(make(folder, pipeline=CFG[name].dataset.pipeline, **others)))


@pytest.mark.parametrize(
    ('name', 'features'),
    [('train_dataloader', 3), ('val_dataloader', 1), ('val_corpus_dataloader', 2)],
)
def test_a_worker_sends_the_same_batch_in_one_memory_a_feature(corpus_folder, name, features):
    samples = loaded(corpus_folder, name)
    batch = batch_of(samples)
    assert_same(batch, pseudo_collate(samples))
    assert len(memories(batch)) == features
    assert len(memories(pseudo_collate(samples))) == features * len(samples)


def test_the_features_of_a_second_stage_have_memories_of_their_own(corpus_folder):
    settings = query_dataset(corpus_folder, pipeline=CFG.val_dataloader.dataset.pipeline)
    for name in ('type', 'reader', 'data_root'):
        del settings[name]
    samples = loaded(corpus_folder, 'val_dataloader', second_stage=settings)
    batch = batch_of(samples)
    assert_same(batch, pseudo_collate(samples))
    assert len(memories(batch['inputs']['second_stage'])) == 1
    assert len(memories(batch)) == 2


@pytest.mark.parametrize(
    'samples',
    [
        [dict(label=torch.tensor(3)), dict(label=torch.tensor(4))],
        [dict(image=torch.ones(3, 2, 5)), dict(image=torch.ones(3, 4, 5))],
        [dict(x=torch.ones(2, 5)), dict(x=torch.ones(2, 5).long())],
        [dict(x=torch.ones(2, 5), name='a', n=[1]), dict(x=None, name='b', n=[2])],
        ['a', 'b'],
    ],
    ids=['numbers', 'shapes', 'types', 'names', 'texts'],
)
def test_what_is_no_rows_of_one_feature_is_sent_as_it_is(samples):
    assert_same(batch_of(samples), pseudo_collate(samples))


def test_in_the_main_process_nothing_is_copied(corpus_folder):
    samples = loaded(corpus_folder, 'val_dataloader')
    for found, sample in zip(join_rows(samples)['inputs']['query'], samples, strict=True):
        assert found is sample['inputs']['query']


@pytest.mark.parametrize('name', ['train_dataloader', 'val_dataloader', 'val_corpus_dataloader'])
def test_dataloaders_of_configs_join_rows(corpus_folder, name):
    make = corpus_dataset if 'corpus' in name else query_dataset
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        loader = Runner.build_dataloader({**CFG[name], 'dataset': make(corpus_folder)})
    assert loader.collate_fn.func is join_rows
