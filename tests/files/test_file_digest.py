"""The digest of a file against hashlib's of its content."""

import hashlib

from nas.files.file_digest import file_digest


def test_digest_is_that_of_the_content(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()
