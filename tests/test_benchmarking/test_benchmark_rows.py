"""Rows are evaluated once, again where anything changed that they depend on, and kept."""

import json
import os
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from mmengine.config import Config
from small_benchmark import write_checkpoint, write_entry
from tiny_corpus import FILES, INDEX, edit_line

from reloclnet_mm.benchmarking import rows
from reloclnet_mm.benchmarking.rows import evaluate_entries, files_of, signature_of, source_of
from reloclnet_mm.benchmarking.worker import config_of, evaluate
from reloclnet_mm.errors import InputError


@pytest.fixture
def own(corpus_folder, tmp_path):
    """An entry whose files a test may change."""
    return write_entry(corpus_folder, tmp_path / 'own')


@pytest.fixture
def runs(monkeypatch):
    """Evaluate in this process, which spares seconds; the entries that were evaluated."""
    done = []

    def run(job, advance):
        done.append(job.entry)
        return evaluate(job, advance)

    monkeypatch.setattr(rows, '_run', run)
    return done


def evaluated(entries, folder):
    return evaluate_entries(entries, folder, queries=8, hours=0.01)


def test_a_finished_row_is_not_evaluated_again(own, runs, tmp_path, capfd):
    (first,) = evaluated([own], tmp_path / 'rows')
    (again,) = evaluated([own], tmp_path / 'rows')
    assert runs == [own]
    assert again.record == first.record
    assert again.read_lists().keys() == first.read_lists().keys()
    printed, shown = capfd.readouterr()
    assert '1 of 1 evaluations are finished already' in printed
    assert '8 of 8 queries' in shown


def test_rows_of_one_config_with_other_settings_are_evaluated_apart(own, runs, tmp_path):
    fewer = replace(own, options=('model.test_cfg.num_videos=2',))
    all_found, two_found = evaluated([own, fewer], tmp_path / 'rows')
    assert runs == [own, fewer]
    assert (all_found.record.limits['VR'], two_found.record.limits['VR']) == (3, 2)
    evaluated([fewer, own], tmp_path / 'rows')
    assert runs == [own, fewer]


def test_a_row_whose_files_are_damaged_is_evaluated_again(own, runs, tmp_path):
    evaluated([own], tmp_path / 'rows')
    (folder,) = (tmp_path / 'rows').iterdir()
    for name, damage in (('lists.npz', b'PK'), ('row.json', b'{"signature": 1}')):
        (folder / name).write_bytes(damage)
        evaluated([own], tmp_path / 'rows')
    assert runs == [own] * 3


def test_rows_that_are_finished_stay_when_the_next_is_stopped(own, corpus_folder, tmp_path):
    other = write_entry(corpus_folder, tmp_path / 'other', seed=1)

    def stopped(job, advance):
        if job.entry == other:
            raise KeyboardInterrupt
        return evaluate(job, advance)

    with mock.patch.object(rows, '_run', stopped), pytest.raises(KeyboardInterrupt):
        evaluated([own, other], tmp_path / 'rows')
    done = []
    with mock.patch.object(rows, '_run', lambda job, step: done.append(job) or evaluate(job, step)):
        evaluated([own, other], tmp_path / 'rows')
    assert [job.entry for job in done] == [other]


def test_the_files_of_a_test_are_found_in_its_config(own, corpus_folder):
    found = files_of(config_of(own))
    assert set(found) == {corpus_folder / x for x in ('val.jsonl', INDEX, *FILES.values())}


def new_weights(own, folder):
    write_checkpoint(own.path, own.checkpoint, seed=7)


def new_setting(own, folder):
    own.path.write_text(own.path.read_text() + '\nmodel["test_cfg"]["alpha"] = 21.0\n')


def new_annotation(own, folder):
    edit_line(folder / 'val.jsonl', 1, desc='another')


def new_features(own, folder):
    os.utime(folder / FILES['video'], ns=(1, 1))


@pytest.mark.parametrize('change', [new_weights, new_setting, new_annotation, new_features])
def test_the_signature_follows_what_the_numbers_depend_on(own, corpus_folder, change):
    before = signature_of(config_of(own), own, 1)
    change(own, corpus_folder)
    assert signature_of(config_of(own), own, 1) != before


@pytest.mark.parametrize('name', ['cpu', 'device', 'torch'])
def test_rows_of_another_machine_are_evaluated_again(own, monkeypatch, name):
    before = signature_of(config_of(own), own, 1)
    other = rows.describe_machine() | {name: 'another'}
    monkeypatch.setattr(rows, 'describe_machine', lambda: other)
    assert signature_of(config_of(own), own, 1) != before


def test_a_change_of_the_source_of_the_package_is_seen(own, monkeypatch, tmp_path):
    package = tmp_path / 'package'
    (package / 'inner').mkdir(parents=True)
    (package / 'inner/module.py').write_text('x = 1\n')
    (package / 'notes.txt').touch()
    first = source_of(package)
    (package / 'notes.txt').unlink()
    source_of.cache_clear()
    assert source_of(package) == first
    (package / 'inner/module.py').write_text('x = 2\n')
    source_of.cache_clear()
    assert source_of(package) != first
    before = signature_of(config_of(own), own, 1)
    monkeypatch.setattr(rows, 'source_of', lambda package: first)
    assert signature_of(config_of(own), own, 1) != before


def test_the_signature_does_not_follow_where_logs_go_or_the_path_of_the_weights(own, tmp_path):
    cfg = config_of(own)
    before = signature_of(cfg, own, 1)
    cfg.work_dir, cfg.experiment_name = 'elsewhere', 'other'
    copy = tmp_path / 'copy.pth'
    copy.write_bytes(own.checkpoint.read_bytes())
    assert signature_of(cfg, replace(own, checkpoint=copy), 1) == before
    assert signature_of(cfg, own, 2) != before
    assert isinstance(cfg, Config)


@pytest.mark.slow
def test_a_row_has_a_process_of_its_own_and_its_error_is_one_message(own, tmp_path):
    (found,) = evaluated([own], tmp_path / 'rows')
    assert found.read_lists()['query_ids'].shape == (8,)
    (path,) = (tmp_path / 'rows').glob('*/row.json')
    assert json.loads(path.read_text())['costs']['peak_memory_mb'] > 50
    Path(own.checkpoint).write_bytes(b'nothing')
    with pytest.raises(InputError, match='cannot be read as a checkpoint'):
        evaluated([own], tmp_path / 'rows')
