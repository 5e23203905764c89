"""ReLoCLNet for OpenMMLab: video corpus moment retrieval with contrastive learning."""

from reloclnet_mm.compat.mmaction2 import install as _install_stand_in_of_drn
from reloclnet_mm.engine.checkpointing.loading import install as _install_checkpoint_loader
from reloclnet_mm.version import __version__

__all__ = ['__version__']

_install_checkpoint_loader()
_install_stand_in_of_drn()
