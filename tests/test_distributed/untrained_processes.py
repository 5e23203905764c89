"""Ranks a corpus that is spread over the processes of a launch by models without weights.

Process 0 writes the lists of all queries. Run by torchrun: `untrained_processes.py OUT`.
"""

import json
import sys
from pathlib import Path

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size

from reloclnet_mm.engine.runner import init_gloo
from reloclnet_mm.structures import MomentDataSample

sys.path.insert(0, str(Path(__file__).parents[1]))
from retrievers import UNTRAINED, build_untrained, encode, untrained_inputs
from tiny_corpus import packed


def lists(config, chosen):
    """The lists of the queries of this process, over the videos that it has and others have."""
    model, raw = build_untrained(config), untrained_inputs()
    corpus = encode(model, raw)
    index = model.index_corpus(corpus.select(chosen), sharded=get_world_size() > 1)
    samples = [
        MomentDataSample(metainfo=dict(query_id=i, video_id=100 + i)) for i in range(len(corpus))
    ]
    own = slice(get_rank(), None, get_world_size())
    inputs = packed({name: x[own] for name, x in raw.items()})
    found = [
        dict(
            query=sample.query_id,
            **{
                task: {key: x.tolist() for key, x in sample.get(task).items()}
                for task in ('pred_vr', 'pred_vcmr', 'pred_svmr')
            },
        )
        for sample in model(inputs, samples[own], mode='predict', corpus=index)
    ]
    everyone = [one for part in all_gather_object(found) for one in part]
    return sorted(everyone, key=lambda one: one['query'])


def main(out):
    torch.set_num_threads(1)
    init_gloo('pytorch')
    chosen = list(range(4))[get_rank() :: get_world_size()]
    found = {config: lists(config, chosen) for config in UNTRAINED}
    if get_rank() == 0:
        out.write_text(json.dumps(found))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
