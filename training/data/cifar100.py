"""CIFAR-100 by its 20 superclasses: the official python version, or picture files in folders of the 100 fine classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .cifar_batches import read_batches
from .one_vs_rest import Found, nothing_in, one_vs_rest
from .sample import Sample
from .tree import Split, choose_classes, pictures

# in the order of the official coarse labels
SUPERCLASSES: dict[str, tuple[str, ...]] = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
CLASSES = tuple(SUPERCLASSES)
EXPECTED = "{train,test}/[SUPERCLASS/]{apple,aquarium_fish,…,worm}/NAME.png, or the files train and test of the python version"


def load(root: Path, split: Split, normal: Sequence[str]) -> list[Sample]:
    """Train: pictures of the normal superclasses. Test: all twenty, anomalous where not normal.

    `normal` names superclasses, empty means all. Raises DataError for unknown ones, missing or damaged files, and where a
    fine class that is needed has no picture.
    """
    chosen = choose_classes(normal, CLASSES)
    if not (root / split).is_file():
        return one_vs_rest(split, chosen, _found(root, split, chosen if split == "train" else CLASSES))
    images, categories, names = read_batches([root / split], "coarse_labels", CLASSES)
    return one_vs_rest(split, chosen, zip(categories, names, images, strict=True))


def _found(root: Path, split: Split, needed: Sequence[str]) -> Iterable[Found]:
    for category in needed:
        for fine in SUPERCLASSES[category]:
            files = pictures(root / split / category / fine) or pictures(root / split / fine)
            if not files:
                raise nothing_in(root, (split, fine), EXPECTED)
            for path in files:
                yield category, f"{fine}/{path.name}", path
