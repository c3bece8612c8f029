"""A file is replaced whole or not at all: full disks, folders without permission, links, devices, interruptions."""

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import softmax as sm
from softmax import _files
from softmax._files import replace_file

from .test_save_load import fitted


@pytest.fixture
def old(tmp_path):
    """A folder with one file."""
    (tmp_path / "m").write_bytes(b"old")
    return tmp_path / "m"


def unchanged(path):
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["m"]


def test_a_file_is_written(tmp_path):
    replace_file(tmp_path / "new", b"data")
    assert (tmp_path / "new").read_bytes() == b"data"
    replace_file(str(tmp_path / "new"), b"more")
    assert (tmp_path / "new").read_bytes() == b"more"
    assert os.listdir(tmp_path) == ["new"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file_and_no_debris(old, monkeypatch, call, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(_files.os, call, fail)
    with pytest.raises(OSError, match=os.strerror(code)):
        replace_file(old, b"new")
    monkeypatch.undo()
    unchanged(old)


def test_a_write_that_fails_in_the_middle(old, monkeypatch):
    whole_open = open

    def opened(*arguments):
        file = whole_open(*arguments)

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

            def write(self, data):
                file.write(data[:2])
                raise OSError(errno.ENOSPC, "No space left on device")

        return Full()

    monkeypatch.setattr(_files, "open", opened, raising=False)
    with pytest.raises(OSError, match="No space left"):
        replace_file(old, b"new and long")
    unchanged(old)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
def test_an_interruption_leaves_the_old_file(old, monkeypatch, stop):
    def interrupt(_):
        raise stop

    monkeypatch.setattr(_files.os, "fsync", interrupt)
    with pytest.raises(stop):
        replace_file(old, b"new")
    monkeypatch.undo()
    unchanged(old)


SAVE = """
import resource, signal, sys
import softmax as sm
model = sm.load(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    sm.save(model, sys.argv[2])
except OSError as error:
    print(error.errno)
"""


@pytest.mark.parametrize("room", [0, 1000])
def test_a_real_limit_on_the_size_of_files(tmp_path, old, room):
    source = tmp_path.parent / f"{tmp_path.name}-source"
    sm.save(fitted()[0], source)
    assert source.stat().st_size > 1000
    done = subprocess.run(
        [sys.executable, "-c", SAVE, str(source), str(old), str(room)], capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.returncode) == (f"{errno.EFBIG}\n", 0), done.stderr
    unchanged(old)


def test_a_real_full_disk(tmp_path):
    """A memory file system of one page, where this user may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs the right to")
    try:
        (place / "m").write_bytes(b"old")
        with pytest.raises(OSError, match="No space left") as info:
            sm.save(fitted()[0], place / "m")
        assert info.value.errno == errno.ENOSPC
        unchanged(place / "m")
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_is_written_to_and_never_replaced():
    with pytest.raises(OSError, match="No space left"):
        sm.save(fitted()[0], "/dev/full")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    sm.save(fitted()[0], "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder: it is a folder\. Name a file in it"):
        sm.save(fitted()[0], tmp_path / "folder")
    with pytest.raises(FileNotFoundError, match=r"the folder .*absent does not exist"):
        sm.save(fitted()[0], tmp_path / "absent" / "m")
    with pytest.raises(OSError, match="Is a directory"):
        sm.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        sm.load(tmp_path / "absent")
    assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_without_permission():
    """Tried as a user without rights; the superuser may write everywhere."""
    model = fitted()[0]
    superuser = os.geteuid() == 0
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        (folder / "m").write_bytes(b"old")
        folder.chmod(0o555)
        if superuser:
            os.seteuid(65534)
        try:
            with pytest.raises(PermissionError):
                sm.save(model, folder / "m")
        finally:
            if superuser:
                os.seteuid(0)
        folder.chmod(0o755)
        unchanged(folder / "m")


def test_a_link_stays_a_link_and_the_mode_stays(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to("target")
    sm.save(fitted()[0], link)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sm.load(target).status_ == "certified"
    assert sorted(os.listdir(tmp_path)) == ["link", "target"]


def test_a_dangling_link_gets_its_target(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    sm.save(fitted()[0], tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert sm.load(tmp_path / "target").status_ == "certified"


def test_the_umask_decides_who_may_read_a_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        sm.save(fitted()[0], tmp_path / "m")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o640


def test_a_long_name_can_be_saved(tmp_path):
    name = "m" * 255
    sm.save(fitted()[0], tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_a_killed_process_leaves_a_whole_file(tmp_path):
    """The file is that of the first save or of a later one, never a part."""
    code = """
import sys, numpy as np, softmax as sm
model = sm.SoftmaxRegression().fit(np.arange(6.0)[:, None], np.arange(6) % 2)
model.coef_ = np.ones((2, 400_000))
while True:
    sm.save(model, sys.argv[1])
    print("saved", flush=True)
"""
    path = tmp_path / "m"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    for _ in range(3):
        assert process.stdout.readline() == b"saved\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert np.isfinite(sm.load(path).coef_).all()
