"""The example of docs/add_a_model.md: its model trains and is tested by its config."""

import re
import sys

import pytest
from generated_data import small, write_data
from mmengine.config import Config
from mmengine.runner import Runner

from reloclnet_mm.registry import MODELS


@pytest.fixture
def config(repository, tmp_path, monkeypatch):
    """The config of the page, beside the model of the page."""
    page = (repository / 'docs' / 'add_a_model.md').read_text()
    model, config = re.findall(r'^```python\n(.*?)^```$', page, re.MULTILINE | re.DOTALL)
    (tmp_path / 'one_block.py').write_text(model)
    path = tmp_path / 'one_block_anet_text.py'
    path.write_text(config.replace("'configs/", f"'{repository}/configs/"))
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    MODELS.module_dict.pop('OneBlock')
    sys.modules.pop('one_block')


def test_the_model_of_the_page_trains_and_is_tested_by_its_config(config, tmp_path):
    cfg = small(Config.fromfile(config), tmp_path / 'run')
    cfg.model.update(embed_dims=16, num_heads=2)
    cfg.train_cfg.max_epochs = 1
    write_data(cfg, tmp_path)
    runner = Runner.from_cfg(cfg)
    assert len(runner.model.context_encoder.streams['subtitle'].blocks) == 1
    runner.train()
    losses = {name for name in runner.message_hub.log_scalars if name.startswith('train/loss')}
    assert losses == {
        *('train/loss', 'train/loss_rank_query', 'train/loss_rank_video'),
        *('train/loss_span', 'train/loss_softmax'),
    }
    assert runner.test()['VR/R100'] == 100
