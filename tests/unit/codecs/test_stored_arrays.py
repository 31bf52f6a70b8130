"""The folder of stored arrays, with concurrent writers and failures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from service.codecs import stored_arrays as stored
from service.codecs.stored_arrays import ArrayFolder
from service.core.call import Spec
from service.errors import ArrayExistsError, ArrayUnavailableError

TWO = Spec((2,), torch.float32)


def test_a_name_that_is_taken_meanwhile(tmp_path: Path) -> None:
    """The existing file stays, and the temporary one is removed."""
    target = ArrayFolder(tmp_path).store_target("x.npy", "/output/store", overwrite=False)

    def take() -> None:
        with target.create(TWO) as sink:
            sink[:] = 1
            (tmp_path / "x.npy").touch()

    with pytest.raises(ArrayExistsError, match=r"named 'x\.npy'"):
        take()
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
    assert not (tmp_path / "x.npy").read_bytes()


def test_an_unfinished_result_is_removed(tmp_path: Path) -> None:
    """A name appears when the file is complete, or never."""
    target = ArrayFolder(tmp_path).store_target("x.npy", "/output/store", overwrite=False)

    def fail() -> None:
        with target.create(TWO):
            assert not (tmp_path / "x.npy").exists()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_file_without_a_name(tmp_path: Path) -> None:
    """The file of a scratch target is read while it exists, and removed after use."""
    with ArrayFolder(tmp_path).scratch().create(TWO) as sink:
        sink[:] = [3, 4]
        array = sink.read()
        assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())
    assert array.tolist() == [3, 4]


def test_a_full_disk(tmp_path: Path) -> None:
    """A result without space on the disk is refused before it is computed into a file."""
    target = ArrayFolder(tmp_path).store_target("x.npy", "/output/store", overwrite=False)
    with (
        pytest.raises(ArrayUnavailableError, match="cannot be stored: ") as caught,
        target.create(Spec((2**57,), torch.float32)),
    ):
        pytest.fail("there is no room for it")
    assert caught.value.places[0].pointer == "/output/store"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", ["written", "gone"])
def test_a_file_that_changes_after_it_was_planned(tmp_path: Path, change: str) -> None:
    """The planned array is loaded, or none."""
    np.save(tmp_path / "x.npy", np.ones(3, np.float32))
    tensor = ArrayFolder(tmp_path).find("x.npy", "/x/ref")
    assert (tuple(tensor.shape), tensor.dtype, tensor.device.type) == ((3,), torch.float32, "meta")
    if change == "gone":
        (tmp_path / "x.npy").unlink()
    else:
        np.save(tmp_path / "x.npy", np.ones(4, np.float32))
    with pytest.raises(ArrayUnavailableError, match=r"'x\.npy' cannot be read: "):
        tensor.load()


def test_without_the_zarr_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the name of the extra that installs it."""
    monkeypatch.setattr(stored, "find_spec", lambda name: None)
    (tmp_path / "x.zarr").mkdir()
    with pytest.raises(ArrayUnavailableError, match=r"the extra \[zarr\]"):
        ArrayFolder(tmp_path).find("x.zarr", "/x/ref")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        pytest.param("out.npy", "a link of that name", id="out of the folder"),
        pytest.param("loop.npy", "a link of that name", id="to itself"),
        pytest.param("gone.npy", "a link of that name", id="to no file"),
        pytest.param("up/x.npy", "names are those of files", id="in a folder elsewhere"),
        pytest.param("outt.npy", "names are those of files", id="near a link that leads out"),
        pytest.param("herre.npy", "did you mean 'here.npy'?", id="near a link that stays"),
    ],
)
def test_links(tmp_path: Path, name: str, hint: str) -> None:
    """No hint proposes a name that cannot be found."""
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(tmp_path / "x.npy", np.ones(3))
    np.save(folder / "zzzz.npy", np.ones(3))
    (folder / "here.npy").symlink_to("zzzz.npy")
    (folder / "out.npy").symlink_to(tmp_path / "x.npy")
    (folder / "loop.npy").symlink_to("loop.npy")
    (folder / "gone.npy").symlink_to("nothing.npy")
    (folder / "up").symlink_to(tmp_path)
    arrays = ArrayFolder(folder)
    assert tuple(arrays.find("here.npy", "/x/ref").shape) == (3,)
    with pytest.raises(ArrayUnavailableError, match="no stored array is named") as caught:
        arrays.find(name, "/x/ref")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(hint)


def test_a_result_in_a_folder_that_is_a_loop(tmp_path: Path) -> None:
    """There is no such folder."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ArrayUnavailableError, match="there is no folder"):
        ArrayFolder(tmp_path).store_target("loop/x.npy", "/output/store", overwrite=False)
