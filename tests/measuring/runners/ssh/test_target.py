"""How a machine is written."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from nas.errors import ConfigError
from nas.measuring.runners.ssh.target import SshTarget


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("jetson.local", None, "jetson.local", None),
        ("ubuntu@192.168.1.5:2222", "ubuntu", "192.168.1.5", 2222),
        ("my_board-2:22", None, "my_board-2", 22),
        ("[fe80::1%eth0]", None, "fe80::1%eth0", None),
        ("me@[::1]:65535", "me", "::1", 65535),
        ("me@domain.org@host", "me@domain.org", "host", None),
        ("größe", None, "größe", None),
    ],
)
def test_user_host_and_port_are_read_and_written_back(text, user, host, port):
    target = SshTarget.parse(host=text)
    assert (target.user, target.host, target.port) == (user, host, port)
    assert target.text == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "@", "@host", "user@", ":22", "user@:22", "-oProxyCommand=x", "-l@host", "user@-host", "two words", "host\n", "a/b"),
        *(
            "host:",
            "host:0",
            "host:65536",
            "host:ssh",
            "host:-1",
            "host:٣",
            "host:123456",
            "::1",
            "fe80::1:22",
            "[::1",
            "::1]",
            "[host]",
        ),
        *("[::1]22", "[]", "[::1]:", "us er@host", "user\x1b@host", "$(x)@host", "host;x", "[::1%a b]", "a@b:1:2"),
    ],
)
def test_what_is_no_host_is_refused_on_one_line(text):
    with pytest.raises(ConfigError, match="^host: got ") as caught:
        SshTarget.parse(host=text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("folder", text) for text in ("", "relative", "~", "~user/x", "/a\nb", "~/\x1b")),
        *(("python", text) for text in ("", "-c", "py\nthon")),
        *(("connect_timeout_s", seconds) for seconds in (0.0, -1.0, math.nan, math.inf)),
    ],
)
def test_other_settings_without_sense_are_refused(field, value):
    with pytest.raises(ConfigError, match=rf"^(ssh\.)?{field}: got ") as caught:
        SshTarget.parse(host="board", **{field: value})
    assert str(caught.value).isprintable()


def test_the_commands_that_are_named_carry_port_and_files():
    target = SshTarget.parse(host="me@board:2222", key=Path("/keys/my key"), known_hosts=Path("/known"))
    assert target.command("ssh", user="me") == "ssh -p 2222 -o UserKnownHostsFile=/known me@board"
    assert target.command("ssh-copy-id", user="me") == "ssh-copy-id -i '/keys/my key' -p 2222 -o UserKnownHostsFile=/known me@board"
    assert SshTarget.parse(host="board").command("ssh", user="me") == "ssh me@board"
