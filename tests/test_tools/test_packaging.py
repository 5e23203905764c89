"""What mim will look for, in the source tree: names, links and the model index."""

import os
import re
from collections import Counter

import pytest
import yaml
from mmengine.config import Config

TASKS = ('VR', 'SVMR IoU 0.5', 'SVMR IoU 0.7', 'VCMR IoU 0.5', 'VCMR IoU 0.7')


@pytest.fixture
def configs(repository):
    """Configs of experiments, by name."""
    return {path.stem: path for path in (repository / 'configs').glob('*.py')}


@pytest.fixture
def models(repository):
    """The entries of the model index by name, read as mim does, from the package's folder."""
    mim = repository / 'reloclnet_mm/.mim'
    imports = yaml.safe_load((mim / 'model-index.yml').read_text())['Import']
    entries = [m for p in imports for m in yaml.safe_load((mim / p).read_text())['Models']]
    names = [entry['Name'] for entry in entries]
    assert len(set(names)) == len(names)
    return dict(zip(names, entries, strict=True))


def metrics_of(model):
    (result,) = model['Results']
    return result['Metrics']


def cells(line):
    """The cells of a line of a Markdown table, without emphasis."""
    return [cell.strip().replace('**', '') for cell in line.split('|')[1:-1]]


def test_the_package_links_to_what_mim_looks_for(repository):
    for name in ('configs', 'tools', 'model-index.yml'):
        link = repository / 'reloclnet_mm/.mim' / name
        assert os.readlink(link) == f'../../{name}'
        assert link.resolve() == repository / name


def test_mim_finds_one_file_by_the_name_of_a_config_or_a_tool(repository, configs):
    package = repository / 'reloclnet_mm'
    found = Counter(n for _, _, names in os.walk(package, followlinks=True) for n in names)
    tools = Counter(path.name for path in (repository / 'tools').rglob('*.py'))
    assert {path.name: found[path.name] for path in configs.values()} == dict.fromkeys(
        (path.name for path in configs.values()), 1
    )
    assert set(tools.values()) == {1}


def test_the_model_index_lists_every_config_by_its_name(configs, models):
    assert models.keys() == configs.keys()
    for name, model in models.items():
        assert model['Config'] == f'configs/{name}.py'
        # mim writes what it is asked for in small letters before it compares
        assert name == name.lower()


def test_the_model_index_repeats_the_settings_of_the_configs(configs, models):
    for name, model in models.items():
        cfg = Config.fromfile(configs[name])
        if model['In Collection'] == 'Untrained':
            assert (cfg.train_dataloader, cfg.get('train_cfg')) == (None, None)
            assert model['Metadata']['Training Data'] == 'none'
            continue
        assert model['Metadata']['Batch Size'] == cfg.train_dataloader.batch_size
        assert model['Metadata']['Epochs'] == cfg.train_cfg.max_epochs


def test_results_of_the_text_corpus_are_those_of_the_readme(repository, models):
    lines = (repository / 'README.md').read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith('| ReLoCLNet |'))
    heads = next(cells(line) for line in reversed(lines[:row]) if 'VR R@1' in line)
    names, prefix = [], ''
    for head in heads[1:]:
        # a head that is cut short goes on with the task, or the task and rank, before it
        if head.startswith('R@'):
            names.append(f'VR {head}')
        elif re.fullmatch(r'0\.\d', head):
            names.append(f'{prefix} IoU {head}')
        else:
            prefix = head.split(',')[0]
            names.append(head.replace(',', ''))
    for label, config in (('ReLoCLNet', 'relocl'), ('ReLoCLNetPlus', 'relocl_plus')):
        (line,) = [x for x in lines if x.startswith(f'| {label} |')]
        expected = {}
        for name, cell in zip(names, cells(line)[1:], strict=True):
            expected[name], expected[f'{name} std'] = (float(number) for number in cell.split('±'))
        assert metrics_of(models[f'{config}_anet_text']) == expected
    for label, config in (('clip', 'nearest_clip'), ('sentence', 'nearest_sentence')):
        (line,) = [x for x in lines if x.startswith(f'| nearest {label}, no training |')]
        numbers = [float(cell) for cell in cells(line)[1:]]
        assert metrics_of(models[f'{config}_anet_text']) == dict(zip(names, numbers, strict=True))


def test_results_of_the_planted_corpus_are_those_of_the_readme(repository, models):
    expected = {}
    table = re.findall(r'^ *(R@\d+) +(\d.*)$', (repository / 'README.md').read_text(), re.MULTILINE)
    for rank, row in table:
        numbers = map(float, re.findall(r'([\d.]+) \([\d.]+\)', row))
        for task, number in zip(TASKS, numbers, strict=True):
            name, *threshold = task.split(' ', 1)
            expected[' '.join([name, rank, *threshold])] = number
    found = metrics_of(models['relocl_planted'])
    assert found == {name: expected[name] for name in found}
    assert {name.split()[0] for name in found} == {'VR', 'SVMR', 'VCMR'}


def test_only_measured_configs_have_results_and_none_has_an_address_of_weights(models):
    assert {n for n, m in models.items() if 'Results' in m} == {
        'nearest_clip_anet_text',
        'nearest_sentence_anet_text',
        'relocl_anet_text',
        'relocl_anet_text_easy_negatives',
        'relocl_anet_text_lse',
        'relocl_anet_text_no_contrastive',
        'relocl_anet_text_no_framecl',
        'relocl_anet_text_no_videocl',
        'relocl_planted',
        'relocl_plus_anet_text',
        'xml_anet_text',
    }
    assert not any('Weights' in model for model in models.values())
