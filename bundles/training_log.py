"""How the shipped weights were trained; the cards tell it."""

_GPU = (
    "One GPU (H100), six minutes beside eight other trainings, bfloat16, Adam, polynomial decay, a running average of "
    "the weights (decay 0.999); it ran to its end, no checkpoint was chosen."
)
_CHOSEN = (
    "Each organ's network was trained twice, on two CPU cores and from nothing on a GPU (docs/results.md); which of "
    "the two ships was decided by their mean Dice on the validation cases."
)
_CPU = "Two CPU cores, bfloat16, Adam, polynomial decay; no checkpoint of a phase was chosen, each ran to its end."
_MEAN = (
    "The weights are the mean of those at the end of these phases. That the mean was taken, and not the last phase, "
    "was decided for all organs together after seeing the validation scores of both."
)
_FIRST = (
    "Phase 1: {first} steps of batch 2 with Dice + cross entropy weighted by class proportion, learning rate 0.001, "
    "then {second} with Dice + unweighted cross entropy, learning rate 0.0005."
)
_LATER = "from there with Dice + cross entropy, learning rate {rate}, intensity augmentation and a running average"
_BOTH = "Both sides trained one network, each case mirrored where needed, so that the data double."
_FLIPPED = " These weights are the left network's with every kernel flipped left to right."


def _organ(first: int, second: int, third: int) -> str:
    later = f"Phase 2: {third} steps of batch 2 {_LATER.format(rate=0.0005)}."
    return f"{_FIRST.format(first=first, second=second)} {later} {_MEAN} {_CPU} {_CHOSEN}"


def _parotid(side: str) -> str:
    return f"{_BOTH}{_FLIPPED if side == 'right' else ''} {_organ(1242, 414, 1518)}"


def _silver(side: str, first: int, second: int, third: int, fourth: int) -> str:
    later = (
        f"Phase 2: {third} steps of batch 2 {_LATER.format(rate=0.0005)}, on a round of silver labels that the "
        f"networks of phase 1 drew (`oarseg.datasets.silver`), expert cases 4 times over. Phase 3: {fourth} steps "
        "more, learning rate 0.0003, expert cases 20 times over."
    )
    both = f"{_BOTH}{_FLIPPED if side == 'right' else ''}"
    return f"{both} {_FIRST.format(first=first, second=second)} {later} {_MEAN} {_CPU} {_CHOSEN}"


def _eye(side: str) -> str:
    return _silver(side, 1508, 319, 1330, 714)


def _nerve(side: str) -> str:
    return _silver(side, 2001, 522, 1617, 735)


TRAINED: dict[str, str] = {
    "localizer": (
        "3500 steps of batch 2 from nothing with focal loss weighted by organ volume + Dice, learning rate 0.001, "
        "crops of 64 x 96 x 80 voxels; rotations up to 10 degrees, scaling by 15 %, shear of 5 %, intensity "
        "augmentation with probability 0.3; a round of silver labels that earlier networks drew "
        f"(`oarseg.datasets.silver`), expert cases 4 times over. {_GPU} It ships "
        "after earlier weights, trained on two CPU cores, had been seen to score lower."
    ),
    "brainstem": _organ(1128, 470, 1410),
    "eye_left": _eye("left"),
    "eye_right": _eye("right"),
    "mandible": (
        "3168 steps of batch 2 from nothing with Dice + cross entropy, learning rate 0.001; rotations up to 15 "
        "degrees, scaling by 15 %, shear of 5 %, intensity augmentation with probability 0.3. "
        f"{_GPU} {_CHOSEN}"
    ),
    "optic_nerve_left": _nerve("left"),
    "optic_nerve_right": _nerve("right"),
    "parotid_left": _parotid("left"),
    "parotid_right": _parotid("right"),
}
