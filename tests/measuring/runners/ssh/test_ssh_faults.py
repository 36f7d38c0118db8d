"""What goes wrong after the log-in ends with one line, and in a state from which the same call works later."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nas.errors import ConfigError, ConnectionLostError
from nas.measuring.runners.ssh.remote_place import SshPlace
from tests.measuring.runners.sshd import Sshd, alive, wait_for, wrapped_sftp

pytestmark = pytest.mark.usefixtures("own_home")

TICKING = "import os, time\nprint(os.getpid(), flush=True)\nwhile True: time.sleep(0.02); print('tick', flush=True)"
SILENT = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(300)"


def line_of(caught: pytest.ExceptionInfo[Exception]) -> str:
    """The message, which must be one printable line."""
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.fixture
def server(make_sshd) -> Sshd:
    """A server of the test's own."""
    return make_sshd()


def cut(server: Sshd, how: signal.Signals) -> None:
    for pid in server.sessions():
        os.kill(pid, how)


@pytest.mark.parametrize(
    ("how", "keepalive_s"), [(signal.SIGKILL, 10.0), (signal.SIGSTOP, 0.5)], ids=["session killed", "peer unresponsive"]
)
def test_a_connection_cut_in_mid_run_is_told_and_the_folder_is_there_later(how, keepalive_s, server):
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            cut(server, how)

    with server.place(keepalive_s=keepalive_s) as place:
        place.put("journal", b"what was measured")
        with pytest.raises(ConnectionLostError) as caught:
            place.run(["-c", TICKING], on_line=on_line)
        assert line_of(caught).startswith(f"{place.name}: the connection broke off (")
        assert "the same command goes on from there" in line_of(caught)

        server.stop()
        assert server.start(port=server.port)
        assert place.get("journal") == b"what was measured"
        assert place.run(["-c", "print('again')"], on_line=lines.append) == 0
        assert lines[-1] == "again"
    wait_for(lambda: not alive(int(lines[0])))


@pytest.mark.parametrize("method", ["put", "get", "remove"])
def test_a_cut_between_two_calls_is_told_and_the_call_after_it_works(method, server):
    with server.place() as place:
        place.put("file", b"1")
        call = {"put": lambda: place.put("file", b"2"), "get": lambda: place.get("file"), "remove": place.remove}[method]
        cut(server, signal.SIGKILL)
        with pytest.raises(ConnectionLostError):
            call()
        assert place.get("file") == b"1"


def test_a_put_that_was_cut_leaves_the_file_as_it_was(server):
    part = server.files() / ".big.part"

    def cut_when_some_is_there() -> None:
        wait_for(lambda: part.exists() and part.stat().st_size > 0)
        cut(server, signal.SIGKILL)

    with server.place() as place:
        place.put("big", b"whole")
        thread = threading.Thread(target=cut_when_some_is_there)
        thread.start()
        with pytest.raises(ConnectionLostError, match="the same command goes on from there"):
            place.put("big", bytes(96 << 20))
        thread.join()
        assert place.get("big") == b"whole"
        place.put("big", b"new")
        assert place.get("big") == b"new"
    assert not part.exists()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_told_with_what_was_needed_and_what_is_free(tiny_disk: Path, sshd: Sshd):
    with sshd.place("far", folder=str(tiny_disk)) as place:
        place.put("small", bytes(1000))
        with pytest.raises(ConfigError) as caught:
            place.put("large", bytes(4 << 20))
        assert line_of(caught).startswith(f"{place.name}: no room: large needs 4.0 MiB, ")
        assert re.search(r"(1\.0|0\.9) MiB are free; make room, or name another folder: ssh.folder=$", line_of(caught))
        assert sorted(path.name for path in (tiny_disk / "far").iterdir()) == ["small"]

        with pytest.raises(ConfigError, match="no room"):
            place.put("small", bytes(4 << 20))
        assert place.get("small") == bytes(1000)


def test_a_limit_of_file_sizes_is_told_and_leaves_the_file_as_it_was(tmp_path: Path, make_sshd: Callable[..., Sshd]):
    """The disk has room, as far as `df` knows; so it is with a quota."""
    server = make_sshd(sftp=wrapped_sftp(tmp_path, "ulimit -f 100", "trap '' XFSZ"))
    with server.place() as place:
        place.put("file", bytes(1000))
        with pytest.raises(ConfigError) as caught:
            place.put("file", bytes(3 << 20))
        assert "file cannot be written (Failure): file needs 3.0 MiB" in line_of(caught)
        assert "look for a quota" in line_of(caught)
        assert place.get("file") == bytes(1000)
    assert [path.name for path in server.files().iterdir()] == ["file"]


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path, make_sshd: Callable[..., Sshd]):
    """For root, who may write anywhere, the server's files are another user's affair."""
    as_nobody = [f"set -- {sys.executable} -c 'import os, sys; os.setuid(65534); os.execv(sys.argv[1], sys.argv[1:])'"]
    server = make_sshd(sftp=wrapped_sftp(tmp_path, *(as_nobody if os.getuid() == 0 else [])))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with server.place("far", folder=str(closed)) as place:
        with pytest.raises(ConfigError) as caught:
            place.put("file", b"1")
        assert line_of(caught).endswith("may not be written there (permission denied); name a folder of this user: ssh.folder=")
        with pytest.raises(ConfigError, match="the folder cannot be made: Permission denied"):
            place.run(["-c", ""], on_line=print)


def test_a_file_in_place_of_the_folder_is_told(sshd: Sshd):
    (sshd.home / "taken").touch()
    with (
        sshd.place("far", folder="~/taken") as place,
        pytest.raises(ConfigError, match="file cannot be written .*is not a directory"),
    ):
        place.put("file", b"1")


@pytest.mark.parametrize("python", ["no-such-python", "/no/such/python", "/etc/passwd"])
def test_an_interpreter_that_cannot_be_executed_is_told(python: str, sshd: Sshd):
    with sshd.place(python=python) as place:
        with pytest.raises(ConfigError) as caught:
            place.run(["-c", ""], on_line=print)
        assert f"{python} cannot be executed there (" in line_of(caught)
        assert line_of(caught).endswith("name an interpreter of Python 3.6 or newer: ssh.python=")


SCRIPT = """
import sys
from pathlib import Path
from nas.measuring.runners.ssh.remote_place import SshPlace, SshTarget
host, key, known_hosts, code = sys.argv[1:]
target = SshTarget.parse(host=host, key=Path(key), known_hosts=Path(known_hosts), connect_timeout_s=60.0)
with SshPlace(target, "interrupted") as place:
    place.run(["-c", code], on_line=lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize(
    "code",
    [SILENT, "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SILENT],
    ids=["that listens", "that ignores TERM"],
)
def test_ctrl_c_stops_the_far_program(code: str, sshd: Sshd):
    target = sshd.target()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), target.text, str(target.key), str(target.known_hosts), code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert alive(pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    wait_for(lambda: not alive(pid))


def test_a_line_without_end_is_refused_and_its_program_stopped(sshd: Sshd):
    code = (
        "import os, sys, time\nopen('pid', 'w').write(str(os.getpid()))\n"
        "sys.stdout.write('x' * (10 << 20)); sys.stdout.flush(); time.sleep(300)"
    )
    with sshd.place("endless") as place:
        with pytest.raises(ConfigError, match="got a line of over 1048576 bytes, expected short lines") as caught:
            place.run(["-c", code], on_line=print)
        assert len(line_of(caught)) < 300
        wait_for(lambda: not alive(int((sshd.files("endless") / "pid").read_text())))


FLOOD = """
import resource, sys
from pathlib import Path
from nas.measuring.runners.ssh.remote_place import SshPlace, SshTarget
host, key, known_hosts = sys.argv[1:]
target = SshTarget.parse(host=host, key=Path(key), known_hosts=Path(known_hosts), connect_timeout_s=60.0)
with SshPlace(target, "flood") as place:
    place.run(["-c", ""], on_line=print)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code = "import sys; block = 'x' * 999 + chr(10)\\nfor n in range(100000): sys.stderr.write(block)"
    print(place.run(["-c", code], on_line=print), len(place.stderr), {len(line) for line in place.stderr})
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_flood_of_100_mb_of_errors_is_not_kept(sshd: Sshd):
    target = sshd.target()
    command = [sys.executable, "-c", textwrap.dedent(FLOOD), target.text, str(target.key), str(target.known_hosts)]
    summary, grown_kib = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout.splitlines()
    assert summary == "0 20 {999}"
    assert int(grown_kib) < 40_000


def test_control_characters_of_the_remote_device_do_not_get_into_messages(sshd: Sshd):
    with sshd.place("hostile") as place:
        with pytest.raises(ConfigError) as caught:
            place.run(["-c", r"import sys; sys.stderr.write('\x1b[2J\x07\u202egone\r\n'); sys.exit(127)"], on_line=print)
        assert "??" not in place.name
        assert "(?[2J??gone)" in line_of(caught)
        assert place.stderr == ("?[2J??gone",)


def test_a_program_that_writes_as_if_it_were_another_process_ends_none(sshd: Sshd):
    """Only the first such line counts, and it is the shell's own."""
    with subprocess.Popen(["sleep", "300"]) as innocent, sshd.place("liar") as place:

        def on_line(line: str) -> None:
            raise RuntimeError(line)

        code = (
            f"import sys, time; print('segnas runs as process {innocent.pid}', file=sys.stderr, flush=True)\nprint(1, flush=True)\n"
        )
        with pytest.raises(RuntimeError, match="1"):
            place.run(["-c", f"{code}time.sleep(300)"], on_line=on_line)
        assert innocent.poll() is None
        innocent.kill()


def test_closing_twice_or_before_the_first_use_is_fine(sshd: Sshd):
    place: SshPlace = sshd.place()
    place.close()
    place.put("file", b"1")
    place.close()
    place.close()
