"""Downloads come over https alone, and are what they were the first time."""

from __future__ import annotations

import hashlib
import http.server
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from bench.core.downloads import https_only, note_first, note_of, noted, require_first, require_known
from bench.errors import BadData


@pytest.fixture
def server() -> Iterator[str]:
    """A server without TLS, which also sends people elsewhere."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"content")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    found = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    found.server_close()


def test_nothing_is_asked_for_in_plain_text(server):
    with urllib.request.urlopen(server) as answer:
        assert answer.read() == b"content"
    with https_only(), pytest.raises(urllib.error.URLError, match="is not https"):
        urllib.request.urlopen(server)
    with urllib.request.urlopen(server) as answer:
        assert answer.read() == b"content", "outside it is as it was"


@pytest.mark.parametrize("address", ["ftp://127.0.0.1:1/weights.pt", "file:///dev/null"])
def test_nothing_is_taken_by_another_road_either(address):
    with https_only(), pytest.raises(urllib.error.URLError, match="is not https"):
        urllib.request.urlopen(address)


def test_an_opener_of_the_programs_own_is_there_again():
    own = urllib.request.build_opener()
    urllib.request.install_opener(own)
    try:
        with https_only():
            assert urllib.request._opener is not own
        assert urllib.request._opener is own
    finally:
        urllib.request.install_opener(None)


def test_a_redirect_to_plain_text_is_not_followed(server):
    opener = urllib.request.OpenerDirector
    request = urllib.request.Request("https://example.invalid/file")
    with https_only():
        handler = urllib.request.HTTPRedirectHandler()
        found: opener = urllib.request._opener
        handler.add_parent(found)
        new = handler.redirect_request(request, None, 302, "Found", {}, server)
        with pytest.raises(urllib.error.URLError, match="is not https"):
            found.open(new)


def test_what_came_first_is_what_is_taken(tmp_path):
    file = tmp_path / "weights.pt"
    file.write_bytes(b"first")
    require_first(file)
    assert noted(file) is None, "a file of the user's own is nobody's download"
    note_first(file, "https://example.org/weights.pt", "0a1b")
    held = noted(file)
    assert held.sha256 == hashlib.sha256(b"first").hexdigest()
    assert str(held) == "https://example.org/weights.pt at commit 0a1b"
    note_first(file, "https://example.org/weights.pt", "another")
    require_first(file)
    assert noted(file) == held, "the first note stays"
    file.write_bytes(b"second")
    for refuse in (require_first, lambda path: note_first(path, "https://example.org/weights.pt")):
        with pytest.raises(BadData, match=r"was other content at its first download.*then.*now") as told:
            refuse(file)
        assert told.value.hint.startswith(f"rm {note_of(file)}")
    note_of(file).unlink()
    note_first(file, "https://example.org/weights.pt")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"source": 1}', "\x00"])
def test_a_damaged_note_is_one_sentence(tmp_path, text):
    file = tmp_path / "weights.pt"
    file.write_bytes(b"first")
    note_of(file).write_text(text)
    with pytest.raises(BadData, match=r"weights\.pt\.download\.json is damaged"):
        require_first(file)


def test_what_was_published_is_known(tmp_path):
    file = tmp_path / "data.gz"
    file.write_bytes(b"published")
    known = {"data.gz": hashlib.sha256(b"published").hexdigest()}
    require_known(file, known)
    require_known(tmp_path / "absent.gz", {"absent.gz": "0"})
    file.write_bytes(b"another")
    with pytest.raises(BadData, match="is not the file of that name as it was published, expected SHA-256"):
        require_known(file, known)
