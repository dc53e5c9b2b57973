"""Whether a loss can be trained with on cases that do not label every organ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from oarseg.errors import ConfigError
from oarseg.sites import Organ


def fitting_loss(loss: Callable, cases: Sequence[Mapping], organs: Sequence[Organ]) -> Callable:
    """Return ``loss``, once it is known to heed partial labels wherever a training case has them.

    A target holds 255 in the channel of an organ that its case does not label (see ``oarseg.networks.partial_labels``).
    oarseg's losses leave such channels out; any other would take the 255 for a probability. A loss of your own that
    leaves them out says so with an attribute: ``honours_partial_labels = True``.

    Args: ``cases``: of the training; a case without "labelled" labels all. ``organs``: those the network tells apart.
    Raises ConfigError for a loss that does not, where at least one case lacks an organ.
    """
    if getattr(loss, "honours_partial_labels", False):
        return loss
    keys = [organ.key for organ in organs]
    lacking = [(case, [k for k in keys if k not in case["labelled"]]) for case in cases if "labelled" in case]
    lacking = [(case, missing) for case, missing in lacking if missing]
    if lacking:
        case, missing = lacking[0]
        name = getattr(loss, "__name__", type(loss).__name__)
        raise ConfigError(
            f"loss {name} does not heed partial labels, and {len(lacking)} of {len(cases)} training cases lack organs "
            f"({case.get('image', 'a case')}: {', '.join(missing)}); use the losses of oarseg.networks, or train on "
            "cases that label every organ"
        )
    return loss
