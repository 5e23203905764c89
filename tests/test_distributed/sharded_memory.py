"""What ranking queries over a corpus spread over ranks takes of each rank's memory; as a program.

Run by torchrun: `sharded_memory.py OUT`. Rank 0 writes the megabytes of each rank.
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
from reloclnet_mm.structures import VideoCorpus
from reloclnet_mm.structures.packed_rows import RowLayout

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny_corpus import tiny_model

NUM_VIDEOS, CLIPS, WIDTH = 3600, 60, 256


def random_videos(numbers):
    """What a rank would have encoded."""
    clips = [CLIPS] * len(numbers)
    return VideoCorpus(
        video_names=tuple(str(i) for i in numbers),
        video_ids=torch.tensor(numbers),
        seconds_per_clip=torch.ones(len(numbers)),
        order=torch.tensor(numbers),
        streams=('video', 'subtitle'),
        features=torch.randn(len(numbers) * CLIPS, 2 * WIDTH),
        layout=RowLayout.stack(clips, clips),
    )


def main(out):
    torch.set_num_threads(1)
    init_gloo('pytorch', timeout=120)
    DefaultScope.get_instance('ranks', scope_name='reloclnet_mm')
    model = MODELS.build(tiny_model(embed_dims=WIDTH)).eval()
    before = peak_rss_mb()
    shard = model.index_shard(random_videos(list(range(get_rank(), NUM_VIDEOS, get_world_size()))))
    queries = {name: torch.randn(8, WIDTH) for name in ('video', 'subtitle')}
    model.rank(queries, shard, torch.arange(8))
    used = all_gather_object(peak_rss_mb() - before)
    if get_rank() == 0:
        out.write_text(json.dumps(used))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
