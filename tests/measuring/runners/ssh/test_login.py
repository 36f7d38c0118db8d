"""Each way not to get in ends with one line that says what to do."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nas.errors import ConfigError, ConnectionLostError, UserError
from nas.measuring.runners.ssh.remote_place import SshPlace, SshTarget
from tests.measuring.runners.sshd import USER, Sshd, make_key

pytestmark = pytest.mark.usefixtures("own_home")

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO5ALLoBjlKoUEi7Kn/sTC4NwzR4vTZVVTTyqcG4wnpt"


def refusal(place: SshPlace, kind: type[Exception] = ConfigError) -> str:
    """The message of the first use, which must be one printable line."""
    with place, pytest.raises(kind) as caught:
        place.get("file")
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.fixture
def own_hosts(sshd) -> Iterator[Sshd]:
    """The shared server; its known hosts are as before afterwards."""
    yield sshd
    sshd.trust(sshd.host_key)


def fingerprint(server: Sshd) -> str:
    shown = subprocess.run(["ssh-keygen", "-lf", f"{server._host_key}.pub"], capture_output=True, text=True, check=True).stdout
    return shown.split()[1]


def test_a_changed_host_key_is_refused_with_its_fingerprint_and_the_way_out(own_hosts):
    own_hosts.trust(OTHER_KEY)
    text = refusal(own_hosts.place())
    assert fingerprint(own_hosts) in text
    assert "holds another key for it" in text
    assert text.endswith(f"ssh-keygen -R '[127.0.0.1]:{own_hosts.port}' -f {own_hosts.known_hosts}")


def test_a_host_that_has_no_key_of_the_known_kind_has_changed_too(own_hosts, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", tmp_path / "rsa"], check=True)
    own_hosts.trust(" ".join((tmp_path / "rsa.pub").read_text().split()[:2]))
    text = refusal(own_hosts.place())
    assert fingerprint(own_hosts) in text
    assert "holds another key for it" in text


def test_an_unknown_host_key_is_refused_and_the_command_that_accepts_it_is_named(own_hosts):
    own_hosts.known_hosts.write_text("# nothing yet\n")
    text = refusal(own_hosts.place())
    assert fingerprint(own_hosts) in text
    assert f"is not in {own_hosts.known_hosts}" in text
    assert text.endswith(f"ssh -p {own_hosts.port} -o UserKnownHostsFile={own_hosts.known_hosts} {USER}@127.0.0.1")


def test_a_revoked_host_key_is_refused_even_where_it_is_known(own_hosts):
    entry = f"[127.0.0.1]:{own_hosts.port} {own_hosts.host_key}\n"
    own_hosts.known_hosts.write_text(f"{entry}@revoked {entry}")
    assert "Host key is revoked" in refusal(own_hosts.place())


@pytest.mark.parametrize("line", ["UserKnownHostsFile none", "UserKnownHostsFile /dev/null\n  StrictHostKeyChecking no"])
def test_no_ssh_configuration_switches_the_check_off(line, own_home, sshd):
    (own_home / ".ssh" / "config").write_text(f"Host *\n  {line}\n")
    assert "UserKnownHostsFile none" in (text := refusal(sshd.place(known_hosts=None))) or "is not in /dev/null" in text


def test_the_users_own_known_hosts_are_read(own_home, sshd):
    assert f"is not in {own_home}/.ssh/known_hosts" in refusal(sshd.place(known_hosts=None))
    shutil.copy(sshd.known_hosts, own_home / ".ssh" / "known_hosts")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", own_home / ".ssh" / "known_hosts"], check=True, capture_output=True)
    with sshd.place(known_hosts=None) as place:
        assert place.get("file") is None


def test_known_hosts_that_are_missing_or_malformed_are_refused(tmp_path, sshd):
    assert f"known_hosts: got {tmp_path}/none, which is no file" in refusal(sshd.place(known_hosts=tmp_path / "none"))
    (tmp_path / "bad").write_text("one\x1b[2Jword\n")
    assert "cannot be read" in refusal(sshd.place(known_hosts=tmp_path / "bad"))


@pytest.mark.parametrize("user", ["no_such_user_here", "nobody"])
def test_a_user_who_does_not_exist_or_does_not_have_our_key_is_refused(user, sshd):
    text = refusal(sshd.place(host=f"{user}@127.0.0.1:{sshd.port}"))
    assert f"the user '{user}' was refused on 127.0.0.1 with the key {sshd.key}" in text
    assert text.endswith(
        f"ssh-copy-id -i {sshd.key} -p {sshd.port} -o UserKnownHostsFile={sshd.known_hosts} {user}@127.0.0.1",
    )


def test_a_key_that_is_not_the_users_is_refused(tmp_path, sshd):
    text = refusal(sshd.place(key=make_key(tmp_path / "other")))
    assert f"the user '{USER}' was refused on 127.0.0.1 with the key {tmp_path}/other" in text


def test_without_any_key_the_agent_is_named(sshd):
    text = refusal(sshd.place(key=None))
    assert "with the keys of the SSH configuration and the agent" in text
    assert "ssh-add" in text


def test_too_many_keys_are_a_refusal_too(make_sshd, own_home, tmp_path):
    server = make_sshd(config=["MaxAuthTries 2"])
    lines = [f"IdentityFile {make_key(tmp_path / f'key{n}')}" for n in range(4)]
    (own_home / ".ssh" / "config").write_text("\n".join(lines))
    assert "was refused on 127.0.0.1" in refusal(server.place(key=None))


def test_a_key_with_a_passphrase_is_not_asked_for(tmp_path, sshd):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "locked"], check=True)
    assert f"key: {tmp_path}/locked has a passphrase" in refusal(sshd.place(key=tmp_path / "locked"))


def test_a_key_file_that_is_missing_or_no_key_is_refused(tmp_path, sshd):
    assert f"key: got {tmp_path}/none, which is no file" in refusal(sshd.place(key=tmp_path / "none"))
    (tmp_path / "text").write_text("no key")
    assert f"key: {tmp_path}/text cannot be used" in refusal(sshd.place(key=tmp_path / "text"))


def test_a_broken_ssh_configuration_is_named(own_home, sshd):
    (own_home / ".ssh" / "config").write_text("Port many\n")
    assert "the SSH configuration (~/.ssh) cannot be used" in refusal(SshPlace(SshTarget.parse(host="board"), "x"))


@pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="no ssh-agent here: apt-get install openssh-client")
def test_the_keys_of_the_agent_log_in(tmp_path, monkeypatch, sshd):
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL)
    try:
        while not (tmp_path / "agent").exists():
            assert agent.poll() is None
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        subprocess.run(["ssh-add", "-q", sshd.key], check=True, env=os.environ)
        with sshd.place(key=None) as place:
            assert place.get("file") is None
    finally:
        agent.terminate()
        agent.wait()


def test_a_port_where_nothing_listens(sshd):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert f"nothing listens on port {port}; start the SSH server there" in refusal(sshd.place(host=f"x@127.0.0.1:{port}"))


def test_a_name_that_is_not_known(sshd):
    assert "the name no-such-host.invalid is not known" in refusal(sshd.place(host="x@no-such-host.invalid"))


@contextmanager
def server_that(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that does so on each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"x@127.0.0.1:{listener.getsockname()[1]}"
        thread.join(timeout=30)


def test_a_server_that_does_not_answer_is_given_up_in_time(sshd):
    with server_that(lambda connection: connection.recv(1 << 20) and connection.recv(1)) as host:
        text = refusal(sshd.place(host=host, connect_timeout_s=0.5))
    assert "within 0.5 s; is the device on, and in this network?" in text


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-1.0-\x1b[2Jold\r\n",
        b"SSH-2.0-x\r\n" + os.urandom(8).replace(b"\n", b"x") * 100,
        b"\x1b[2J" * 50000,
        b"",
    ],
    ids=["http", "ssh1", "noise", "endless", "hangs up"],
)
def test_what_is_no_ssh_server_is_one_clean_line(answer, sshd):
    def send(connection: socket.socket) -> None:
        connection.sendall(answer)

    with server_that(send) as host:
        text = refusal(sshd.place(host=host), kind=(UserError, ConnectionLostError))  # type: ignore[arg-type]
    assert re.search("does not speak SSH|broke off before the log-in|no algorithm in common", text)


def test_a_server_without_file_transfer_says_what_to_install(make_sshd: Callable[..., Sshd]):
    assert "openssh-sftp-server" in refusal(make_sshd(sftp=None).place())


def test_a_user_without_a_shell_is_refused(make_sshd: Callable[..., Sshd]):
    text = refusal(make_sshd(config=["ForceCommand printf 'This account is \\033[2J closed\\n'; exit 1"]).place())
    assert "got no home folder from its shell" in text
    assert "closed" in text


def test_a_home_that_could_steer_the_terminal_is_refused(tmp_path: Path, make_sshd: Callable[..., Sshd]):
    text = refusal(make_sshd(config=["ForceCommand printf '/home/\\033[2J\\n'"]).place())
    assert "'/home/?[2J'" in text
