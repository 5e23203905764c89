"""Registries of scope ``reloclnet_mm``, children of mmengine's.

``locations`` let a type such as ``reloclnet_mm.ReLoCLNet`` be built from any
scope without ``custom_imports``: the modules are imported at first look-up.
A name that is not found here is looked up in mmengine, and one with a prefix
(``mmaction.BMN``) in that package. Registries in which this package has nothing
of its own exist all the same: mmengine warns where a default scope lacks one.
"""

from mmengine import registry as root
from mmengine.registry import Registry

_SCOPE = 'reloclnet_mm'


def _child(parent: Registry, location: str) -> Registry:
    return Registry(parent.name, parent=parent, scope=_SCOPE, locations=[f'{_SCOPE}.{location}'])


RUNNERS = _child(root.RUNNERS, 'engine')
RUNNER_CONSTRUCTORS = _child(root.RUNNER_CONSTRUCTORS, 'engine')
LOOPS = _child(root.LOOPS, 'engine')
HOOKS = _child(root.HOOKS, 'engine')
OPTIMIZERS = _child(root.OPTIMIZERS, 'engine')
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, 'engine')
PARAM_SCHEDULERS = _child(root.PARAM_SCHEDULERS, 'engine')
LOG_PROCESSORS = _child(root.LOG_PROCESSORS, 'engine')
VISUALIZERS = _child(root.VISUALIZERS, 'engine')
VISBACKENDS = _child(root.VISBACKENDS, 'engine')
INFERENCERS = _child(root.INFERENCERS, 'engine')

DATASETS = _child(root.DATASETS, 'datasets')
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, 'datasets')
# Collate functions.
FUNCTIONS = _child(root.FUNCTIONS, 'datasets')
# Readers of annotation.
TASK_UTILS = _child(root.TASK_UTILS, 'datasets.readers')

# What makes features of videos, sentences and queries; mmengine has no such registry.
EXTRACTORS = Registry('extractor', scope=_SCOPE, locations=[f'{_SCOPE}.extraction'])

TRANSFORMS = _child(root.TRANSFORMS, 'datasets.transforms')

MODELS = _child(root.MODELS, 'models')
MODEL_WRAPPERS = _child(root.MODEL_WRAPPERS, 'models')
WEIGHT_INITIALIZERS = _child(root.WEIGHT_INITIALIZERS, 'models')

METRICS = _child(root.METRICS, 'evaluation')
EVALUATOR = _child(root.EVALUATOR, 'evaluation')
