"""Ray: a cluster of several raylets is joined, and an actor or a node that dies changes no row."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from mortal_fakes import mortal, plan, rows_of

from neon_sim.benchmarks.cli import main
from neon_sim.benchmarks.running.ray_pool import OWN_LOG
from neon_sim.benchmarks.running.runner import Resources, run
from neon_sim.benchmarks.runs.folder import Row, RunFolder, without_timing

os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", OWN_LOG)  # Ray reads it when it is imported
ray = pytest.importorskip("ray")
__all__ = ["mortal"]  # a fixture


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and two nodes of one CPU each, all on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # the cluster of Ray's own tests has no token
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False}
        made: Any = Cluster(initialize_head=True, head_node_args=head)
        made.nodes = [made.add_node(num_cpus=1) for _ in range(2)]
        yield made
        made.shutdown()


@pytest.fixture
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell on a machine of the cluster: nobody says where it is."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.slow
def test_a_killed_actor_changes_no_row(tmp_path, mortal, cluster, no_address, capfd) -> None:
    """Also: the running cluster is joined without RAY_ADDRESS, and finds the user's module."""
    whole = rows_of(tmp_path / "whole", "never", workers=1)
    capfd.readouterr()
    assert rows_of(tmp_path / "ray", "once", workers=2, executor="ray") == whole
    assert mortal.exists()
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("note: a worker process died (")
    assert shown.err.count("\n") == 1


@pytest.mark.slow
def test_an_error_of_an_actor_is_one_line(tmp_path, mortal, cluster, no_address, capfd) -> None:
    command = ["run", "--policy", "mortal:once", "--task", "humanoid_reach", "--episodes", "2"]
    options = ["--workers", "1", "--executor", "ray", "--videos", "0", "--quiet"]
    assert main([*command, *options, "--out", str(tmp_path / "run")]) == 2
    shown = capfd.readouterr()
    assert "raised at its first look (ValueError: operands could not be" in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_node_that_is_lost_changes_no_row(tmp_path, mortal, cluster, monkeypatch, capfd) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    whole = rows_of(tmp_path / "whole", "never", workers=1)
    removed: list[Any] = []

    def lose(row: Row) -> None:
        """Kill a node with an actor. Ray ends the process that a lost node belongs to, and any of
        the nodes of this machine may be that of this process."""
        if not removed:
            ours = ray.get_runtime_context().get_node_id()
            removed.append(next(node for node in cluster.nodes if node.unique_id != ours))
            cluster.remove_node(removed[0], allow_graceful=False)

    resources = Resources(workers=2, batch=2, executor="ray")
    rows = run(plan("never"), RunFolder(tmp_path / "ray"), resources, progress=lose)
    assert removed
    assert [{**row, "policy": "mortal"} for row in without_timing(rows)] == whole


def test_a_cluster_that_is_not_there_is_one_line(tmp_path, mortal, monkeypatch, capsys) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    command = ["run", "--policy", "hold", "--task", "arm_block", "--executor", "ray"]
    assert main([*command, "--out", str(tmp_path / "run"), "--quiet"]) == 2
    shown = capsys.readouterr().err
    assert "RAY_ADDRESS=127.0.0.1:1 cannot be reached" in shown
    assert shown.count("\n") == 1
