"""A real Ray cluster and a real SLURM on this machine run four chains, of which one is killed and started again."""

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tiny_chains import TINY, recorded

pytestmark = pytest.mark.slow

CHAINS = ("-m", *TINY, "tracking=none", "evaluation.metrics=[support]", "num_threads=1", "seed=0,1,2,3")
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")
IMPORTABLE = {"PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}  # this package, and dying_job
REQUEUED_SECONDS = 120  # that SLURM lets a requeued job wait
SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
JobRequeue=1
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=2000 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def command(folder, *overrides, **environment):
    """The multirun as a process of its own, in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "collapsar", *CHAINS, f"evaluation.cache_folder={folder}/cache", *overrides],
        cwd=folder,
        env={**os.environ, **IMPORTABLE, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def chains(folder, name):
    return {path.parent.name: recorded(path.parent) for path in (folder / "outputs" / name).glob("*/records.jsonl")}


def one_after_another(folder):
    """What the four chains record without a launcher."""
    done = command(folder, "name=one_by_one")
    assert done.communicate()[1] is None
    assert done.returncode == 0
    return chains(folder, "one_by_one")


@contextmanager
def ray_cluster():
    """A head and a worker of one core each, on loopback."""
    ray = [str(Path(sys.executable).with_name("ray"))]
    quiet = {**os.environ, **IMPORTABLE, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    head = ["start", "--head", f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=1"]
    worker = ["start", f"--address=127.0.0.1:{port}", "--node-ip-address=127.0.0.1", "--num-cpus=1"]
    try:
        subprocess.run([*ray, *head, "--include-dashboard=false"], env=quiet, check=True, capture_output=True)
        subprocess.run([*ray, *worker], env=quiet, check=True, capture_output=True)
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([*ray, "stop"], env=quiet, check=False, capture_output=True)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_a_ray_cluster_starts_a_killed_chain_again_and_records_are_those_of_chains_one_after_another(tmp_path):
    dying = f"+hydra.callbacks.dying={{_target_:dying_job.Dying,seed:1,once:{tmp_path}/killed}}"
    with ray_cluster() as address:
        done = command(tmp_path, "name=on_ray", "hydra/launcher=ray", dying, RAY_ADDRESS=address)
        said, _ = done.communicate()
    assert done.returncode == 0, said
    assert (tmp_path / "killed").exists()
    assert chains(tmp_path, "on_ray") == one_after_another(tmp_path)


@contextmanager
def slurm():
    """A controller and its one node; its commands find it by SLURM_CONF."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # pytest's own is closed to munged
        yield from slurm_in(Path(folder))


def slurm_in(folder):
    host = socket.gethostname().partition(".")[0]
    for part in ("state", "spool"):
        (folder / part).mkdir()
    user = pwd.getpwnam("munge")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    os.chown(key, user.pw_uid, user.pw_gid)
    os.chown(folder, user.pw_uid, user.pw_gid)
    folder.chmod(0o755)
    conf = folder / "slurm.conf"
    conf.write_text(SLURM_CONF.format(host=host, folder=folder, cpus=os.cpu_count()))
    found = {**os.environ, "SLURM_CONF": str(conf)}
    files = [f"--{name}={folder}/munge.{end}" for name, end in (("key-file", "key"), ("socket", "socket"))]
    files += [f"--{name}={folder}/munge.{end}" for name, end in (("pid-file", "pid"), ("log-file", "log"))]
    files += [f"--seed-file={folder}/munge.seed", "--foreground", "--force"]
    as_munge = {"user": user.pw_uid, "group": user.pw_gid}
    daemons = [subprocess.Popen(["munged", *files], stderr=subprocess.DEVNULL, **as_munge)]
    try:
        wait_for((folder / "munge.socket").exists)
        daemons += [subprocess.Popen([name, "-D"], env=found) for name in ("slurmctld", "slurmd")]
        wait_for(lambda: "idle" in asked(["sinfo", "-h", "-o", "%t"], found))
        yield found
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()


def asked(command, environment):
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def wait_for(is_so, *, seconds=120):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.5)


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="submitit is not installed")
@pytest.mark.skipif(
    any(shutil.which(name) is None for name in DAEMONS) or os.geteuid() != 0,
    reason="SLURM is not installed (Debian: slurm-wlm and munge), or this is not root",
)
def test_slurm_queues_a_chain_again_and_records_are_those_of_chains_one_after_another(tmp_path):
    ask = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.parameters.mem_gb=1")
    with slurm() as found:
        done = command(tmp_path, "name=in_slurm", *ask, SLURM_CONF=found["SLURM_CONF"])
        wait_for(lambda: list((tmp_path / "outputs" / "in_slurm").glob("*/records.jsonl")), seconds=600)
        running = asked(["squeue", "-h", "-t", "RUNNING", "-o", "%i"], found).split()
        if running:  # the last one to start
            assert not asked(["scontrol", "requeue", running[-1]], found)
        said, _ = done.communicate(timeout=600 + 2 * REQUEUED_SECONDS)
    assert done.returncode == 0, said
    assert running, "every chain was over before one could be queued again"
    assert chains(tmp_path, "in_slurm") == one_after_another(tmp_path)
