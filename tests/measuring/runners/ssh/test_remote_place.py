"""What a place on another machine does, on a real server."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from nas.errors import ConfigError
from nas.measuring.runners.place import Place
from nas.measuring.runners.ssh.remote_place import SshPlace
from tests.measuring.runners.sshd import Sshd, alive, wait_for

pytestmark = pytest.mark.usefixtures("own_home")

ODD = ["two words", "it's", 'say "x"', "$HOME `id` $(id)", "a;b & c | d > e", "line\nbreak", "*", "~", "", "\\", "ä€", "-x", "!!"]


def output(place: Place, code: str, *arguments: str) -> tuple[int, list[str]]:
    """Exit status and lines of a program that is given as text."""
    lines: list[str] = []
    return place.run(["-c", code, *arguments], on_line=lines.append), lines


def test_bytes_that_were_put_come_back_and_replace_the_file_before(place, sshd):
    every_byte = bytes(range(256)) * 3000 + b"\r\n\0end"
    place.put("graph.onnx", b"older and longer than nothing")
    place.put("graph.onnx", every_byte)
    place.put("empty", b"")

    assert place.get("graph.onnx") == every_byte
    assert place.get("empty") == b""
    folder = sshd.files(place.name.rpartition("/")[2])
    assert sorted(path.name for path in folder.iterdir()) == ["empty", "graph.onnx"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_file_that_is_not_there_is_none(place):
    assert place.get("nothing") is None
    place.put("something", b"1")
    assert place.get("nothing") is None


def test_a_file_of_more_than_64_mib_is_refused(place, sshd):
    place.put("large", b"")
    with (sshd.files(place.name.rpartition("/")[2]) / "large").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(ConfigError, match="large has 67108865 bytes, expected at most 67108864"):
        place.get("large")


def test_the_program_runs_isolated_in_the_folder_with_its_arguments_as_they_are(place, sshd):
    place.put("here.txt", b"")
    status, lines = output(
        place, "import os, sys; print(ascii(sys.argv[1:])); print(os.getcwd()); print(os.listdir('.'), sys.flags.isolated)", *ODD
    )

    assert status == 0
    assert lines == [ascii(ODD), str(sshd.files(place.name.rpartition("/")[2])), "['here.txt'] 1"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),
        ("import sys; sys.exit(3)", 3),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import os; os.kill(os.getpid(), 15)", -15),
    ],
)
def test_the_exit_status_or_minus_the_signal_comes_back(code, status, place):
    assert output(place, code) == (status, [])


def test_lines_come_while_the_program_still_runs(place, sshd):
    """The program waits for a file that is made when its first line has come."""
    folder = sshd.files(place.name.rpartition("/")[2])
    code = "import os, time\nprint('first', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('second')"
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line)
        (folder / "go").touch()

    assert place.run(["-c", code], on_line=on_line) == 0
    assert seen == ["first", "second"]


def test_text_that_is_no_utf8_and_a_last_line_without_break_are_passed_on(place):
    status, lines = output(place, r"import sys; sys.stdout.buffer.write(b'a\xffb\n\n\xe2\x82\xac')")
    assert (status, lines) == (0, ["a\N{REPLACEMENT CHARACTER}b", "", "€"])


def test_standard_input_is_closed(place):
    assert output(place, "import sys; print(repr(sys.stdin.read()))") == (0, ["''"])


def test_the_last_twenty_lines_of_standard_error_are_kept(place):
    output(place, "import sys\nfor n in range(50): print('error', n, file=sys.stderr)")
    assert place.stderr == tuple(f"error {n}" for n in range(30, 50))
    output(place, "")
    assert place.stderr == ()


def test_what_on_line_raises_stops_the_program_and_is_raised(place):
    class StopError(OSError):
        pass

    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        raise StopError("the disk of this machine is full")

    with pytest.raises(StopError, match="the disk of this machine is full"):
        place.run(["-c", "import os, time; print(os.getpid(), flush=True); time.sleep(100)"], on_line=on_line)
    wait_for(lambda: not alive(pids[0]))
    assert output(place, "print('again')") == (0, ["again"])


def test_remove_deletes_the_folder_and_nothing_beside_it(sshd):
    outside = sshd.home / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    with sshd.place("removed") as place, sshd.place("removed2") as neighbour:
        place.remove()
        place.put("file", b"1")
        neighbour.put("file", b"2")
        folder = sshd.files("removed")
        (folder / "sub folder" / "deep").mkdir(parents=True)
        (folder / "-rf").touch()
        (folder / "link").symlink_to(outside)
        place.remove()
        place.remove()

        assert not folder.exists()
        assert place.get("file") is None
        assert neighbour.get("file") == b"2"
    assert (outside / "kept").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "-rf", "a b", "a\n", "ä", "~", "x" * 101])
def test_names_that_could_lead_elsewhere_are_refused(name, sshd):
    with pytest.raises(ConfigError, match="expected up to 100 letters"):
        sshd.place(name)
    with sshd.place() as place:
        with pytest.raises(ConfigError, match="expected up to 100 letters"):
            place.put(name, b"")
        with pytest.raises(ConfigError, match="expected up to 100 letters"):
            place.get(name)


def test_a_folder_is_an_absolute_path_or_below_the_home(tmp_path, sshd):
    with sshd.place("far", folder=f"{tmp_path}/with 'quotes' and $HOME/") as place:
        place.put("file", b"1")
        status, lines = output(place, "import os; print(os.getcwd())")
        assert place.name.endswith("$HOME/far")
    assert (tmp_path / "with 'quotes' and $HOME" / "far" / "file").read_bytes() == b"1"
    assert (status, lines) == (0, [str(tmp_path / "with 'quotes' and $HOME" / "far")])


def test_an_interpreter_below_the_home_is_found(sshd):
    folder = sshd.home / "my env"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    with sshd.place(python="~/my env/python") as place:
        assert output(place, "import sys; print(sys.executable)") == (0, [str(folder / "python")])


def test_a_shell_whose_start_up_file_writes_is_understood(make_sshd):
    server = make_sshd()
    (server.home / ".bashrc").write_text("echo Welcome\n")
    with server.place() as place:
        place.put("file", b"1")
        status, lines = output(place, "print('here')")
        assert (status, lines[-1]) == (0, "here")
    assert (server.files() / "file").read_bytes() == b"1"


def test_a_place_works_in_a_thread_and_after_close(sshd):
    seen: list[bytes | None] = []
    place = sshd.place("thread")

    def use() -> None:
        with place:
            place.put("file", b"1")
        with place:
            seen.append(place.get("file"))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(timeout=60)
    assert seen == [b"1"]
    assert place.name == f"{sshd.target().text}:~/.cache/segnas/thread"


def test_a_host_alias_of_the_ssh_configuration_brings_address_port_user_and_key(own_home: Path, sshd: Sshd):
    target = sshd.target()
    (own_home / ".ssh" / "config").write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {target.port}\n  User {target.user}\n  IdentityFile {target.key}\n"
        f"  UserKnownHostsFile {sshd.known_hosts} {own_home}/none_such\n  RemoteCommand echo hi\n  RequestTTY yes\n"
    )
    place = SshPlace(type(target).parse(host="board"), "alias")
    with place:
        place.put("file", b"1")
        assert place.get("file") == b"1"
        assert output(place, "import sys; print(sys.stdout.isatty())") == (0, ["False"])
    assert place.name == "board:~/.cache/segnas/alias"


def test_without_asyncssh_the_error_says_how_to_install_it(monkeypatch, sshd):
    monkeypatch.setattr("nas.measuring.runners.ssh.remote_place.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'segnas\[ssh\]'"):
        sshd.place()


def test_the_environment_of_this_machine_is_not_passed_on(monkeypatch, place):
    monkeypatch.setenv("LC_SECRET_OF_TEST", "1")
    assert output(place, "import os; print('LC_SECRET_OF_TEST' in os.environ)") == (0, ["False"])
    assert "LC_SECRET_OF_TEST" in os.environ
