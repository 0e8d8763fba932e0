from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from catalogue import model_dir, storage
from catalogue.cli.errors import UserError
from catalogue.model_dir import ModelDirError
from tests.conftest import ObjectStore
from trainer.export import publishing


def test_a_model_is_put_back_if_the_new_one_cannot_be_moved(
    tiny_model: Path, model_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with publishing.workplace(str(model_copy)) as workplace:
        new = Path(shutil.copytree(tiny_model, workplace / "model"))
        rename, calls = os.rename, []

        def fail_second(source: object, target: object) -> None:
            calls.append(source)
            if len(calls) == 2:
                raise OSError("the disk is full")
            rename(source, target)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "rename", fail_second)
        with pytest.raises(OSError, match="the disk is full"):
            publishing.publish(new, str(model_copy))
    assert model_dir.read(model_copy).info == model_dir.read(tiny_model).info
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("moment", ["open", "flock"])
def test_a_folder_that_another_command_removes_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The other command ends just before this one opens or locks the file."""
    owner, before = (Path, Path.open) if moment == "open" else (fcntl, fcntl.flock)
    folder, calls = tmp_path / ".writing-model", []

    def removing(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            shutil.rmtree(folder)
        return before(*arguments)

    monkeypatch.setattr(owner, moment, removing)
    with publishing.workplace(str(tmp_path / "model")) as workplace:
        assert len(calls) == 2
        assert workplace.is_dir()
        with (
            pytest.raises(UserError, match="another command is writing"),
            publishing.workplace(str(tmp_path / "model")),
        ):
            pass


def test_remote_directories_are_published_and_fetched(
    tiny_model: Path, tmp_path: Path, object_store: ObjectStore
) -> None:
    path = f"{object_store.root}/model"
    publishing.publish(Path(shutil.copytree(tiny_model, tmp_path / "new")), path)
    with model_dir.fetched(path) as model:
        assert model.info == model_dir.read(tiny_model).info
    assert publishing.foreign_files(path) == []
    storage.write_text(f"{path}/notes.txt", "mine")
    assert publishing.foreign_files(path) == ["notes.txt"]
    none = f"{object_store.root}/none"
    assert publishing.foreign_files(none) is None
    with pytest.raises(ModelDirError, match=f"{none} is not a model directory"), model_dir.fetched(none):
        pass
