"""`collapsar-bench` belongs to a checkout: in a wheel, which holds no scripts, it says where to find them."""

from collapsar.jobs import bench


def test_the_command_without_a_checkout_is_one_line_and_exit_code_2(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "SCRIPTS", tmp_path / "scripts")
    assert bench.main() == 2
    assert capsys.readouterr() == (
        "",
        "collapsar-bench needs a checkout of the repository: git clone it, then scripts/bench\n",
    )
