"""What is said where Ray is not there, or where its options stand alone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from scsafety.cli.options import cluster_of
from scsafety.cluster import Cluster, connected
from scsafety.errors import ConfigError
from tests.program import said, scsafety

if TYPE_CHECKING:
    from pathlib import Path


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(ConfigError, match=r"pip install 'scsafety\[ray\]'"), connected(Cluster()):
        pass


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("local", "auto", None), "--ray-address goes with --executor ray"),
        (("local", None, 2), "--ray-workers goes with --executor ray"),
        (("dask", None, None), "--executor dask"),
        (("ray", None, 0), "--ray-workers 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(given: tuple[str, str | None, int | None], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        cluster_of(*given)


def test_an_address_where_no_cluster_is_ends_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")

    done = scsafety(
        *("run", "--model", "openai-compatible/t", "--base-url", "http://127.0.0.1:9/v1", "--judge", "offline-fast"),
        *("--limit", "1", "--executor", "ray", "--ray-address", "127.0.0.1:9", "--name", "r"),
        cwd=tmp_path,
        env={"PYTHONWARNINGS": "ignore"},
    )

    assert done.returncode == 2
    assert "--ray-address 127.0.0.1:9" in said(done)
