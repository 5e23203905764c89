"""Renaming the parameters of other programs."""

from collections.abc import Collection, Mapping

from torch import Tensor

from reloclnet_mm.errors import InputError


def within(theirs: str, ours: str, inner: Mapping[str, str]) -> dict[str, str]:
    """Put the modules within a module, theirs to ours, behind its names."""
    return {f'{theirs}.{name}': f'{ours}.{renamed}' for name, renamed in inner.items()}


def parameters(modules: Mapping[str, str], without_bias: tuple[str, ...]) -> dict[str, str]:
    """List the parameters of modules.

    Args:
        modules: Their names of modules to ours.
        without_bias: How their names of modules end that have a weight only.

    Returns:
        Their names of parameters to ours.
    """
    return {
        f'{theirs}.{kind}': f'{ours}.{kind}'
        for theirs, ours in modules.items()
        for kind in (('weight',) if theirs.endswith(without_bias) else ('weight', 'bias'))
    }


def rename(
    official: Mapping[str, Tensor], names: Mapping[str, str], unused: Collection[str], model: str
) -> dict[str, Tensor]:
    """Rename parameters.

    Args:
        official: The authors' names to tensors.
        names: The authors' names to ours.
        unused: Further names that may be there and are left out.
        model: Name of the model, for messages.

    Raises:
        InputError: A name is unknown, or one is missing.
    """
    missing = [name for name in names if name not in official]
    unknown = [name for name in official if name not in names and name not in unused]
    if missing or unknown:
        raise InputError(
            f"the weights are not those of the authors' {model}: missing {missing}, unknown "
            f'{unknown}; give the checkpoint that their train.py wrote'
        )
    wrong = [name for name in names if not isinstance(official[name], Tensor)]
    if wrong:
        raise InputError(f'the weights {wrong} are no tensors')
    return {ours: official[theirs] for theirs, ours in names.items()}
