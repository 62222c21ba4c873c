import pytest

from training.benchmark import tasks

DIGITS = [str(digit) for digit in range(10)]


def test_single_is_one_model_a_class() -> None:
    assert [(t.group, t.normal) for t in tasks("single", ["gear", "nut"], semantic=False)] == [
        ("single", ("gear",)),
        ("single", ("nut",)),
    ]
    assert {t.group for t in tasks("single", DIGITS, semantic=True)} == {"one-vs-rest"}


def test_multi_is_one_model_for_all_categories() -> None:
    (task,) = tasks("multi", ["gear", "nut"], semantic=False)
    assert (task.group, task.normal) == ("multi", ("gear", "nut"))


def test_semantic_multi_is_uniads_halves_and_all_but_one() -> None:
    found = tasks("multi", DIGITS, semantic=True)
    assert ["".join(task.normal) for task in found if task.group == "halves"] == ["01234", "56789", "02468", "13579"]
    left_out = [set(DIGITS) - set(task.normal) for task in found if task.group == "all-but-one"]
    assert left_out == [{digit} for digit in DIGITS]


@pytest.mark.parametrize("semantic", [False, True])
def test_names_make_folders_of_their_own(semantic: bool) -> None:
    for setting in ("single", "multi"):
        found = tasks(setting, DIGITS, semantic=semantic)
        assert len({(task.group, task.name) for task in found}) == len(found)
