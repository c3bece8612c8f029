"""The frame around the commands: help, versions, exit codes, interruptions, pipes, terminals."""

import os
import pty
import re
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import softmax
from softmax.cli import _app

COMMANDS = list(_app.app.commands)
SOFTMAX = [sys.executable, "-m", "softmax"]


def start(*arguments, **options):
    environment = {**os.environ, "PYTHONWARNINGS": "error", **options.pop("env", {})}
    return subprocess.Popen(
        [*SOFTMAX, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        **options,
    )


def finish(process, timeout=60):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out.decode(), err.decode()


def test_help_lists_every_command(softmax):
    for flag in ("--help", "-h"):
        done = softmax(flag)
        assert done.code == 0
        for name in COMMANDS:
            assert re.search(rf"^  {name}  +\S.*\.$", done.out, re.M)
    assert softmax().code == 2
    assert "softmax fit digits" in softmax().err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(softmax, name):
    done = softmax(name, "--help")
    assert done.code == 0
    command = _app.app.commands[name]
    assert "Example" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    for parameter in command.params:
        for option in parameter.opts:
            assert option.upper() in done.out.upper()
        assert parameter.param_type_name == "argument" or parameter.help


def test_version(softmax):
    assert softmax("--version").out == f"softmax {__import__('softmax').__version__}\n"


def test_help_is_quick():
    def seconds():
        """Processor time of one call, which other work on the machine lengthens less than the time of the clock."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert finish(start("--help"))[0] == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.3


def test_unknown_commands(softmax):
    done = softmax("frobnicate")
    assert done.code == 2
    assert "No such command 'frobnicate'" in done.err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (softmax.DataError("t.csv is odd."), 1, "Error: t.csv is odd.\n"),
        (
            OSError(28, "No space left on device", "m.safetensors"),
            1,
            "Error: m.safetensors: No space left on device.\n",
        ),
        (PermissionError(13, "Permission denied"), 1, "Error: Permission denied.\n"),
        (MemoryError(), 1, "Error: there is not enough memory for this table."),
        (KeyboardInterrupt(), 130, "Interrupted; nothing was saved.\n"),
        (ModuleNotFoundError("no", name="pyarrow"), 1, "pip install 'softmax[cli]'"),
        (ModuleNotFoundError("no module", name="softmax._x"), 1, "ModuleNotFoundError: no module\nThis should not"),
        (ZeroDivisionError("oops"), 1, "Error: ZeroDivisionError: oops\nThis should not happen: it is a mistake in"),
        (BrokenPipeError(), 141, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_end_has_its_code_and_its_words(softmax, monkeypatch, error, code, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(_app, "_end_quietly", lambda: _app.BROKEN_PIPE)
    monkeypatch.setattr("softmax.cli._fit.read_data", fail)
    done = softmax("fit", "iris", "-q")
    assert done.code == code
    assert message.strip() in done.err.strip()
    assert "Traceback" not in done.err


def test_a_mistake_of_ours_can_be_traced(softmax, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("softmax.cli._fit.read_data", fail)
    monkeypatch.setenv("SOFTMAX_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        softmax("fit", "iris")


@pytest.mark.parametrize("package", ["click", "rich", "pyarrow"])
def test_a_missing_extra_ends_in_the_line_to_type(tmp_path, package):
    code = f"import sys; sys.modules[{package!r}] = None; from softmax.cli import main; sys.exit(main(['fit', 'iris']))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "pip install 'softmax[cli]'" in done.stderr
    assert package in done.stderr
    assert "Traceback" not in done.stderr


def big_table(path, rows):
    lines = "".join(f"{i * 7919 % 1000},{i * 104729 % 997},{i * 31 % 13}\n" for i in range(rows))
    path.write_text(f"a,b,y\n{lines}")


def test_an_interrupt_ends_with_130_and_leaves_no_file(tmp_path):
    big_table(tmp_path / "t.csv", 200_000)
    process = start("fit", "t.csv", "--target", "y", "--tol", "1e-15", cwd=tmp_path)
    first = process.stderr.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert first == b"reading t.csv\n"
    # A reader of files that was interrupted may send the signal again at the end, which a shell shows as 130 too.
    assert code in (130, -signal.SIGINT) and "Saved" not in out
    assert err.splitlines()[-1].startswith("Interrupted; nothing was saved")
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_an_import_that_an_interrupt_broke_is_an_interrupt():
    from softmax.cli._options import interruption

    def broken(*, interrupted):
        with interruption() as noted:
            noted.happened = interrupted
            raise ImportError("initialization failed")

    with pytest.raises(KeyboardInterrupt):
        broken(interrupted=True)
    with pytest.raises(ImportError, match="initialization failed"):
        broken(interrupted=False)


def test_a_broken_pipe_is_quiet(softmax):
    big_table(Path("t.csv"), 20_000)
    assert softmax("fit", "t.csv", "--target", "y", "-q", "--max-iter", 2).code == 0
    with start("predict", "t.safetensors", "t.csv") as process:
        assert process.stdout.readline().startswith(b"label,p(0),")
        process.stdout.close()
        err = process.stderr.read().decode()
        assert process.wait(timeout=60) == 141
    assert err == ""


def test_an_ascii_terminal_is_no_reason_to_fail(tmp_path):
    (tmp_path / "t.csv").write_text(
        "a,y\n" + "".join(f"{i * 7 % 11},{['Zürich', 'Genève'][i % 2]}\n" for i in range(40)), encoding="utf-8"
    )
    code, out, err = finish(
        start("fit", "t.csv", "--target", "y", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    )
    assert code == 0, err
    assert "Z?rich: 20" in out


def on_a_terminal(*arguments, cwd, columns=80, **environment):
    """Run softmax with a terminal for standard output and error, and return what it wrote."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    env |= {"TERM": "xterm-256color", **environment}
    process = subprocess.Popen([*SOFTMAX, *arguments], stdout=theirs, stderr=theirs, stdin=theirs, cwd=cwd, env=env)
    os.close(theirs)
    written = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side has closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    return process.wait(timeout=60), written.decode()


def test_a_terminal_gets_colours_and_a_moving_line(tmp_path):
    code, screen = on_a_terminal("fit", "iris", cwd=tmp_path)
    assert code == 0
    assert "\x1b[32m" in screen
    # Which of its states the line shows depends on how fast they pass.
    assert re.search(r"reading iris|fitting on|scoring|saving", screen)
    assert "\r" in screen
    assert "Saved iris.safetensors" in screen


def test_no_color_is_honoured(tmp_path):
    code, screen = on_a_terminal("fit", "iris", cwd=tmp_path, NO_COLOR="1")
    assert code == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", screen)


def test_errors_are_wrapped_between_words(tmp_path):
    (tmp_path / "t.csv").write_text("first column,second column,y\n,,1\n,3,2\n4,,2\n5,6,1\n")
    code, screen = on_a_terminal("fit", "t.csv", "--target", "y", cwd=tmp_path, columns=50)
    assert code == 1
    message = screen[screen.index("Error: ") :].replace("\r", "")
    assert max(map(len, message.splitlines())) < 50
    assert " ".join(message.split()).endswith("or leave a column out with --drop COLUMN.")
