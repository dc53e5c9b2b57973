"""How the shipped weights were trained; the cards tell it."""

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
    return f"{_FIRST.format(first=first, second=second)} {later} {_MEAN} {_CPU}"


def _parotid(side: str) -> str:
    return f"{_BOTH}{_FLIPPED if side == 'right' else ''} {_organ(1242, 414, 1518)}"


def _silver(side: str, first: int, second: int, third: int, fourth: int) -> str:
    later = (
        f"Phase 2: {third} steps of batch 2 {_LATER.format(rate=0.0005)}, on a round of silver labels that the "
        f"networks of phase 1 drew (`oarseg.datasets.silver`), expert cases 4 times over. Phase 3: {fourth} steps "
        "more, learning rate 0.0003, expert cases 20 times over."
    )
    both = f"{_BOTH}{_FLIPPED if side == 'right' else ''}"
    return f"{both} {_FIRST.format(first=first, second=second)} {later} {_MEAN} {_CPU}"


def _eye(side: str) -> str:
    return _silver(side, 1508, 319, 1330, 714)


def _nerve(side: str) -> str:
    return _silver(side, 2001, 522, 1617, 735)


TRAINED: dict[str, str] = {
    "localizer": (
        "Phase 1: 1128 steps of batch 1 with focal loss + Dice, learning rate 0.001; then 1410 steps with the focal "
        "loss weighted by organ volume (without it eyes and optic nerves were not learned), learning rate 0.001; then "
        "282, 470 and 282 steps with the unweighted focal loss + Dice, learning rates 0.0004, 0.0006 and 0.0005, to "
        "bring volumes back to size; the mean of the weights at the end of the last three. Phase 2: 800 steps from "
        "there, unweighted, learning rate 0.0005, with a round of silver labels (`oarseg.datasets.silver`), expert "
        "cases 4 times over, intensity augmentation and a running average, which is what ships. Crops of 64 x 96 x 80 "
        "voxels. "
        f"{_CPU} Parts of phase 1 were decided on after seeing validation scores."
    ),
    "brainstem": _organ(1128, 470, 1410),
    "eye_left": _eye("left"),
    "eye_right": _eye("right"),
    "mandible": (
        "Phase 1: 648 steps of batch 1 with Dice + unweighted cross entropy, learning rate 0.001. Phase 2: 792 steps "
        f"of batch 1 {_LATER.format(rate=0.0005)}. {_MEAN} {_CPU}"
    ),
    "optic_nerve_left": _nerve("left"),
    "optic_nerve_right": _nerve("right"),
    "parotid_left": _parotid("left"),
    "parotid_right": _parotid("right"),
}
