"""How the shipped weights were trained; the cards tell it."""

_CPU = "Trained on two CPU cores in bfloat16, Adam, polynomial decay; the last checkpoint of each phase, none chosen."
_WEIGHTED = "Dice + cross entropy weighted by class proportion, learning rate 0.001"
_PLAIN = "Dice + unweighted cross entropy, learning rate 0.0005"
_WHY = (
    "The second phase is there because the weighted loss made organs 1.1 to 3 times too large on training cases; the "
    "unweighted one is the bundle's default now."
)


def _organ(first: int, second: int) -> str:
    return f"{first} steps of batch 2 with {_WEIGHTED}; then {second} steps with {_PLAIN}. {_WHY} {_CPU}"


def _mirrored(side: str, first: int, second: int) -> str:
    both = "Both sides trained one network, each case mirrored where needed, so that the data double."
    kernels = "" if side == "left" else " These weights are the left network's with every kernel flipped left to right."
    return f"{both}{kernels} {_organ(first, second)}"


TRAINED: dict[str, str] = {
    "localizer": (
        "1128 steps of batch 1 with focal loss + Dice, learning rate 0.001; then 1410 steps with the focal loss "
        "weighted by organ volume (without it eyes and optic nerves were not learned), learning rate 0.001; then 282, "
        "470 and 282 steps with the unweighted focal loss + Dice, learning rates 0.0004, 0.0006 and 0.0005, to bring "
        "volumes back to size. The weights are the average of those at the end of the last three phases. "
        f"Crops of 64 x 96 x 80 voxels. {_CPU} The last two phases and the average were decided on after seeing the "
        "validation scores of the phase before."
    ),
    "brainstem": _organ(1128, 470),
    "eye_left": _mirrored("left", 1508, 319),
    "eye_right": _mirrored("right", 1508, 319),
    "mandible": f"648 steps of batch 1 with Dice + unweighted cross entropy, learning rate 0.001. {_CPU}",
    "optic_nerve_left": _mirrored("left", 2001, 522),
    "optic_nerve_right": _mirrored("right", 2001, 522),
    "parotid_left": _mirrored("left", 1242, 414),
    "parotid_right": _mirrored("right", 1242, 414),
}
