"""Memory that each process takes to rank queries over a corpus spread over them; as a program.

Run by torchrun: `sharded_memory.py OUT`. The first process writes the megabytes of each.
"""

import json
import sys
from pathlib import Path

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.registry import DefaultScope

from reloclnet_mm.engine.runner import init_gloo
from reloclnet_mm.profiling.harness import peak_rss_mb
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import EncodedCorpus, RowLayout

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny_corpus import tiny_model

NUM_VIDEOS, CLIPS, WIDTH = 3600, 60, 256


def random_videos(numbers):
    """What a process would have encoded."""
    clips = [CLIPS] * len(numbers)
    rows = {name: torch.randn(len(numbers) * CLIPS, WIDTH) for name in ('video', 'subtitle')}
    return EncodedCorpus(
        video_names=tuple(str(i) for i in numbers),
        video_ids=torch.tensor(numbers),
        seconds_per_clip=torch.ones(len(numbers)),
        positions=torch.tensor(numbers),
        layout=RowLayout.stack(clips, clips),
        rows=dict(retrieval=rows, localization=rows),
    )


def main(out):
    torch.set_num_threads(1)
    init_gloo('pytorch', timeout=120)
    DefaultScope.get_instance('processes', scope_name='reloclnet_mm')
    model = MODELS.build(tiny_model(embed_dims=WIDTH)).eval()
    before = peak_rss_mb()
    own = list(range(get_rank(), NUM_VIDEOS, get_world_size()))
    shard = model.index_corpus(random_videos(own), sharded=get_world_size() > 1)
    queries = {name: torch.randn(8, WIDTH) for name in ('video', 'subtitle')}
    shard.rank(queries, torch.arange(8), model.ranking)
    used = all_gather_object(peak_rss_mb() - before)
    if get_rank() == 0:
        out.write_text(json.dumps(used))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
