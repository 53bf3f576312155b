"""Which spellings of file_path are read, and that the rest is refused without being opened."""

import os
import socket
from pathlib import Path

import pytest

from mlsys import errors
from mlsys.pipelines.files import DataRoots


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    (root / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "data-evil").mkdir()
    (tmp_path / "data-evil" / "a.csv").write_text("secret")
    (tmp_path / "secret.csv").write_text("secret")
    (root / "a.csv").write_text("x\n1\n")
    (root / "sub" / "one.parquet").write_text("1")
    (root / "sub" / "deep" / "two.pq").write_text("2")
    (root / "sub" / ".hidden.parquet").write_text("h")
    (root / "sub" / "_SUCCESS").write_text("")
    (root / "sub" / "notes.txt").write_text("n")
    return root


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every path that os.open, which all opening goes through here, was asked for."""
    paths: list[str] = []
    real = os.open

    def watched(path: str, *args: int, **kwargs: int) -> int:
        paths.append(str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", watched)
    return paths


@pytest.mark.parametrize(
    "path",
    [
        "",
        " ",
        ".",
        "./",
        "..",
        "../secret.csv",
        "sub/../a.csv",
        "sub/../../secret.csv",
        "/etc/passwd",
        "/",
        "//etc/passwd",
        "~/a.csv",
        "~root/a.csv",
        "http://example.org/a.csv",
        "s3://bucket/a.csv",
        "file:///etc/passwd",
        "file:a.csv",
        "FILE:/etc/passwd",
        "..\\secret.csv",
        "sub\\one.parquet",
        "..%2fsecret.csv",
        "%2e%2e/secret.csv",
        "a.csv\0",
        "a.csv\0.parquet",
        "a" * 300,
        "a/" * 2500,
        "x" * 5000,
        "missing.csv",
        "a.csv/inside",
        "\ud800.csv",
        "/dev/null",
        "/proc/self/environ",
        "C:\\data\\a.csv",
    ],
)
def test_resolve__refuses_spelling_and_opens_nothing(root: Path, opened: list[str], path: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        DataRoots([root]).resolve(path)
    assert list(refused.value.fields) == ["file_path"]
    assert str(root) not in str(refused.value)
    assert opened == []


def test_resolve__refuses_what_is_not_text(root: Path) -> None:
    for path in (None, 3, ["a.csv"], b"a.csv"):
        with pytest.raises(errors.Invalid):
            DataRoots([root]).resolve(path)  # type: ignore[arg-type]


def test_resolve__refuses_sibling_whose_name_begins_with_the_root(root: Path) -> None:
    with pytest.raises(errors.Invalid, match="outside the data roots"):
        DataRoots([root]).resolve(f"{root}-evil/a.csv")


def test_resolve__says_the_same_of_outside_files_whether_they_exist(root: Path) -> None:
    def text(path: str) -> str:
        with pytest.raises(errors.Invalid) as refused:
            DataRoots([root]).resolve(path)
        return str(refused.value)

    assert text(str(root.parent / "secret.csv")) == text(str(root.parent / "no-such-file.csv"))


def test_resolve__refuses_links_that_lead_out(root: Path) -> None:
    (root / "out.csv").symlink_to(root.parent / "secret.csv")
    (root / "outfolder").symlink_to(root.parent / "data-evil")
    (root / "loop.csv").symlink_to(root / "loop.csv")
    (root / "me").symlink_to(root)
    for path in ("out.csv", "outfolder", "outfolder/a.csv", "loop.csv", "me", str(root / "out.csv")):
        with pytest.raises(errors.Invalid):
            DataRoots([root]).resolve(path)


def test_resolve__takes_links_that_stay_inside(root: Path) -> None:
    (root / "alias").symlink_to(root / "a.csv")
    assert DataRoots([root]).resolve("alias") == [root / "a.csv"]


def test_resolve__refuses_fifo_socket_and_device(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "pipe.csv")
    monkeypatch.chdir(root)  # socket paths are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock.csv")
        for path in ("pipe.csv", "sock.csv"):
            with pytest.raises(errors.Invalid, match="not a regular file"):
                DataRoots([root]).resolve(path)
    with pytest.raises(errors.Invalid, match="not a regular file"):
        DataRoots([Path("/dev")]).resolve("null")


def test_resolve__finds_relative_and_absolute_names_in_order_of_the_roots(root: Path) -> None:
    second = root.parent / "second"
    second.mkdir()
    (second / "a.csv").write_text("y\n")
    (second / "b.csv").write_text("y\n")
    (second / "sub").write_text("a file here, a folder there")
    roots = DataRoots([root.parent / "missing", root, second])
    assert roots.resolve("a.csv") == [root / "a.csv"]
    assert roots.resolve("b.csv") == [second / "b.csv"]
    assert roots.resolve(str(second / "a.csv")) == [second / "a.csv"]
    assert DataRoots([second, root]).resolve("sub/one.parquet") == [root / "sub" / "one.parquet"]
    with pytest.raises(errors.Invalid, match="root itself"):
        roots.resolve(str(second))


def test_resolve__takes_a_root_that_is_a_link(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert DataRoots([link]).resolve("a.csv") == [root / "a.csv"]
    assert DataRoots([link]).resolve(str(link / "a.csv")) == [root / "a.csv"]
    assert DataRoots([link]).resolve(str(root / "a.csv")) == [root / "a.csv"]
    with pytest.raises(errors.Invalid, match="root itself"):
        DataRoots([link]).resolve(str(link))


def test_resolve__lists_the_data_files_of_a_folder(root: Path) -> None:
    assert DataRoots([root]).resolve("sub") == [root / "sub" / "deep" / "two.pq", root / "sub" / "one.parquet"]


def test_resolve__refuses_folder_with_nothing_or_with_both_kinds(root: Path) -> None:
    (root / "empty").mkdir()
    with pytest.raises(errors.Invalid, match=r"no \.parquet"):
        DataRoots([root]).resolve("empty")
    (root / "sub" / "three.csv").write_text("x\n")
    with pytest.raises(errors.Invalid, match="both parquet and CSV"):
        DataRoots([root]).resolve("sub")


def test_resolve__holds_files_of_a_folder_to_the_same_rules(root: Path) -> None:
    (root / "linked").mkdir()
    (root / "linked" / "x.csv").symlink_to(root.parent / "secret.csv")
    (root / "piped").mkdir()
    os.mkfifo(root / "piped" / "x.csv")
    (root / "nested").mkdir()
    (root / "nested" / "more").symlink_to(root.parent / "data-evil")
    for folder in ("linked", "piped", "nested"):
        with pytest.raises(errors.Invalid):
            DataRoots([root]).resolve(folder)


def test_open_file__reads_what_was_resolved(root: Path) -> None:
    roots = DataRoots([root])
    with roots.open_file(roots.resolve("a.csv")[0]) as handle:
        assert handle.read() == b"x\n1\n"
        assert not os.get_inheritable(handle.fileno())


def test_open_file__refuses_link_swapped_in_after_the_check(root: Path) -> None:
    roots = DataRoots([root])
    (file,) = roots.resolve("a.csv")
    file.unlink()
    file.symlink_to(root.parent / "secret.csv")
    with pytest.raises(errors.Invalid, match="cannot be opened"):
        roots.open_file(file)


def test_open_file__refuses_folder_swapped_for_a_link_after_the_check(root: Path) -> None:
    roots = DataRoots([root])
    (file,) = roots.resolve("sub/one.parquet")
    (root / "sub").rename(root / "moved")
    (root.parent / "data-evil" / "one.parquet").write_text("secret")
    (root / "sub").symlink_to(root.parent / "data-evil")
    with pytest.raises(errors.Invalid, match="leads out"):
        roots.open_file(file)


def test_open_file__refuses_fifo_without_waiting_and_leaks_no_descriptor(root: Path) -> None:
    os.mkfifo(root / "pipe")
    before = len(os.listdir("/proc/self/fd"))
    for path in (root / "pipe", root / "sub", root.parent / "secret.csv"):
        with pytest.raises(errors.Invalid):
            DataRoots([root]).open_file(path)
    assert len(os.listdir("/proc/self/fd")) == before
