"""The web client's files from memory: types, encodings, conditions, and what isn't served."""

import gzip
from pathlib import Path

import pytest

from trio_chat.front.head import Headers, Response, encode_response
from trio_chat.front.static import SECURITY_HEADERS, StaticFiles

INDEX = (
    '<!doctype html><link rel="stylesheet" href="/static/page.css">'
    '<script type="module" src="/static/app.js"></script>' + " " * 500
)
APP = 'import { h } from "./vendor/vue.js"\n' + "// " + "a" * 500


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A web client with everything in it."""
    for name, content in {
        "static/index.html": INDEX,
        "static/page.css": "a{}",
        "static/app.js": APP,
        "static/icon.svg": "<svg/>",
        "static/img/logo.PNG": "a" * 1000,
        "static/.hidden.js": "no",
        "static/.git/config.json": "no",
        "static/app.js~": "no",
        "static/notes.md": "no",
        "vendor/vue.js": "v" * 500,
        "vendor/vue.LICENSE": "MIT",
        "secret.txt": "no",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def get(files: StaticFiles, path: str, **headers: str) -> Response:
    """The answer, which must be one."""
    response = files.get(path, Headers({name.replace("_", "-"): value for name, value in headers.items()}))
    assert response is not None
    return response


@pytest.mark.parametrize(
    ("path", "content_type", "content"),
    [
        ("/", "text/html; charset=utf-8", INDEX),
        ("/static/app.js", "text/javascript; charset=utf-8", APP),
        ("/static/page.css", "text/css; charset=utf-8", "a{}"),
        ("/static/icon.svg", "image/svg+xml", "<svg/>"),
        ("/favicon.ico", "image/svg+xml", "<svg/>"),
        ("/static/img/logo.PNG", "image/png", "a" * 1000),
        ("/static/vendor/vue.js", "text/javascript; charset=utf-8", "v" * 500),
        ("/static/vendor/vue.LICENSE", "text/plain; charset=utf-8", "MIT"),
    ],
)
def test_files_are_served_with_their_types(web: Path, path: str, content_type: str, content: str) -> None:
    """As they are, guarded, and to be asked about again each time."""
    response = get(StaticFiles.load(web / "static"), path)
    headers = Headers(response.headers)
    assert response.status == 200
    assert headers["content-type"] == content_type
    assert headers["cache-control"] == "no-cache"
    assert headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in headers
    assert response.body.decode() == content
    assert set(SECURITY_HEADERS) <= set(response.headers)
    assert "cross-origin-opener-policy" not in headers
    assert encode_response(response).endswith(response.body)


@pytest.mark.parametrize(
    "path",
    [
        "/static/index.html",
        "/static/.hidden.js",
        "/static/.git/config.json",
        "/static/app.js~",
        "/static/notes.md",
        "/static/../secret.txt",
        "/static/",
        "/static",
        "/app.js",
        "",
    ],
)
def test_other_paths_are_not_served(web: Path, path: str) -> None:
    """Hidden files, unknown types, directories, and whatever lies outside."""
    assert StaticFiles.load(web / "static").get(path, Headers()) is None


def test_a_link_that_leads_out_is_not_served(web: Path) -> None:
    """One that stays inside is."""
    (web / "static" / "out.txt").symlink_to(web / "secret.txt")
    (web / "static" / "in.css").symlink_to(web / "static" / "page.css")
    (web / "static" / "directory.js").mkdir()
    files = StaticFiles.load(web / "static")
    assert files.get("/static/out.txt", Headers()) is None
    assert files.get("/static/directory.js", Headers()) is None
    assert get(files, "/static/in.css").body == b"a{}"


@pytest.mark.parametrize(
    ("accept", "packed"),
    [
        ("gzip, deflate, br, zstd", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("br;q=1.0, gzip; q=0.5", True),
        ("gzip;q=1", True),
        ("*", True),
        ("gzip;level=9", True),
        ("", False),
        ("br", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q = 0.000", False),
        ("*;q=0", False),
        ("*, gzip;q=0", False),
    ],
)
def test_gzip_where_it_is_accepted(web: Path, accept: str, packed: bool) -> None:
    """After RFC 9110 section 12.5.3; the packed file has an ETag of its own."""
    files = StaticFiles.load(web / "static")
    plain, response = get(files, "/"), get(files, "/", Accept_Encoding=accept)
    headers = Headers(response.headers)
    assert headers.get("content-encoding") == ("gzip" if packed else None)
    assert (gzip.decompress(response.body) if packed else response.body).decode() == INDEX
    assert (headers["etag"] != Headers(plain.headers)["etag"]) == packed


@pytest.mark.parametrize("path", ["/static/page.css", "/static/img/logo.PNG"])
def test_what_gains_nothing_is_not_packed(web: Path, path: str) -> None:
    """Small files, and types that are compressed already."""
    response = get(StaticFiles.load(web / "static"), path, Accept_Encoding="gzip")
    assert "content-encoding" not in Headers(response.headers)


@pytest.mark.parametrize("accept", ["", "gzip"])
def test_an_unchanged_file_is_304(web: Path, accept: str) -> None:
    """For the same encoding, by weak comparison, in a list, or for any; with the caching headers and no
    body."""
    files = StaticFiles.load(web / "static")
    etag = Headers(get(files, "/", Accept_Encoding=accept).headers)["etag"]
    for condition in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        response = get(files, "/", Accept_Encoding=accept, If_None_Match=condition)
        headers = Headers(response.headers)
        assert (response.status, response.body) == (304, b"")
        assert headers["etag"] == etag
        assert "content-type" not in headers
        assert "content-encoding" not in headers
    for condition in ('"x"', "", etag.strip('"')):
        assert get(files, "/", Accept_Encoding=accept, If_None_Match=condition).status == 200


def test_an_etag_lasts_as_long_as_its_content(web: Path) -> None:
    """Over restarts; a change changes it."""
    before = get(StaticFiles.load(web / "static"), "/", Accept_Encoding="gzip")
    assert get(StaticFiles.load(web / "static"), "/", Accept_Encoding="gzip") == before
    (web / "static" / "index.html").write_text(INDEX + "x")
    after = get(StaticFiles.load(web / "static"), "/", Accept_Encoding="gzip")
    assert Headers(after.headers)["etag"] != Headers(before.headers)["etag"]


def test_a_missing_vendor_file_is_said_on_the_page(web: Path) -> None:
    """With the command that puts it in place; everything else is served."""
    (web / "vendor" / "vue.js").unlink()
    files = StaticFiles.load(web / "static")
    response = get(files, "/")
    assert response.status == 503
    assert response.body.decode() == (
        "The web client is not built (vendor/vue.js is missing): run python scripts/build_web.py\n"
    )
    assert get(files, "/static/app.js").status == 200
    assert get(files, "/favicon.ico").status == 200


def test_no_page_at_all_is_said_too(tmp_path: Path) -> None:
    """A server without its web client runs, and says so."""
    files = StaticFiles.load(tmp_path / "nowhere")
    response = get(files, "/")
    assert response.status == 503
    assert b"index.html is missing" in response.body
    assert files.get("/favicon.ico", Headers()) is None


def test_a_page_may_need_no_vendor_and_no_icon(tmp_path: Path) -> None:
    """A vendor directory of another name can be given."""
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "index.html").write_text("<!doctype html>")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.js").write_text("1")
    files = StaticFiles.load(tmp_path / "static", tmp_path / "other")
    assert get(files, "/").status == 200
    assert get(files, "/static/vendor/x.js").body == b"1"


def test_the_servers_own_directory_can_be_loaded() -> None:
    """Built or not, ``/`` has an answer."""
    assert get(StaticFiles.load(), "/").status in (200, 503)
