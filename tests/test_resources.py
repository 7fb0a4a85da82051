"""Shipped files are found in a checkout and in an installed wheel."""

from pathlib import Path

import pytest

from tgp_multimodal import resources

REPOSITORY = Path(__file__).parent.parent


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*.yaml"))


@pytest.mark.parametrize("folder", ["benchmarks/cards", "benchmarks/suites", "configs"])
def test_installed_package_ships_what_the_checkout_holds(folder: str):
    shipped = names(resources.shipped(*folder.split("/")))
    assert shipped
    assert shipped == names(REPOSITORY / folder)


def test_wheel_comes_before_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for folder in ("package/_shipped/configs", "configs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "configs" / "own.yaml").touch()
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "package")
    assert resources.shipped("configs") == tmp_path / "package" / "_shipped" / "configs"
    assert resources.shipped("configs", "own.yaml") == tmp_path / "configs" / "own.yaml"


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"configs/naon\.yaml must ship"):
        resources.shipped("configs", "naon.yaml")


def test_wheel_recipe_ships_the_same_folders():
    recipe = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    for folder in ("benchmarks/cards", "benchmarks/suites", "configs"):
        assert f'"{folder}" = "tgp_multimodal/_shipped/{folder}"' in recipe
