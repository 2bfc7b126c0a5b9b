"""A real Slurm cluster on one Debian machine: two virtual nodes with GPUs that cannot compute.

    python tests/slurm/cluster.py install          Debian's packages, where they are missing
    python tests/slurm/cluster.py start            then: export SLURM_CONF=...  as it says
    python tests/slurm/cluster.py status | stop

Everything lives in one state folder: keys, sockets, logs, database, pid files. Ports are free ones
and sockets private, so a Slurm that the machine may have is left alone. Root is needed: each node
is a slurmd in a mount and host-name namespace of its own.
"""

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PACKAGES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmdbd": "slurmdbd",
    "sbatch": "slurm-client",
    "munged": "munge",
    "mariadbd": "mariadb-server-core",
    "my_print_defaults": "mariadb-client-core",
}
NODES = ["node1", "node2"]
GPUS = 2
STATE = Path(tempfile.gettempdir()) / f"reward-underspecification-slurm-{os.getuid()}"

# Nodes may be larger than the machine; a crashed one is seen after SlurmdTimeout. MinJobAge is
# Slurm's default. A job of the partition `urgent` preempts those of `spot`.
SLURM_CONF = """\
ClusterName=virtual
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={state}/munge.socket
StateSaveLocation={state}/slurmctld
SlurmctldPidFile={state}/slurmctld.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdPidFile={state}/%n.pid
SlurmdLogFile={state}/%n.log
SlurmdSpoolDir={state}/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=2,bf_continue,sched_interval=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
SlurmdTimeout=20
KillWait=5
MinJobAge=300
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={slurmdbd_port}
AccountingStoragePass={state}/munge.socket
AccountingStorageTRES=gres/gpu
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
{nodes}
PartitionName=batch Nodes={names} Default=YES MaxTime=INFINITE PriorityTier=5
PartitionName=spot Nodes={names} MaxTime=INFINITE PriorityTier=1
PartitionName=urgent Nodes={names} MaxTime=INFINITE PriorityTier=9
"""
NODE = (
    "NodeName={name} NodeAddr=127.0.0.1 NodeHostname={name} Port={port} CPUs=8 RealMemory=32000"
    " Gres=gpu:fake:{gpus}"
)
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={state}/munge.socket
DbdHost=localhost
DbdPort={slurmdbd_port}
SlurmUser=root
PidFile={state}/slurmdbd.pid
LogFile={state}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""


class ClusterError(Exception):
    """The cluster cannot be started, or does not answer."""


def missing() -> str:
    """Why a cluster cannot be started here and what to do about it; empty if it can."""
    if os.getuid() != 0:
        return "a virtual Slurm cluster needs root (namespaces and device files)"
    absent = sorted({package for tool, package in PACKAGES.items() if not shutil.which(tool)})
    if absent:
        return f"missing: {' '.join(absent)}; run: python tests/slurm/cluster.py install"
    if subprocess.run(["unshare", "--mount", "--uts", "true"], capture_output=True).returncode:
        return "a virtual Slurm cluster needs namespaces (unshare --mount --uts), refused here"
    return ""


def install() -> None:
    """Install Debian's packages, where they are missing; say which, if that cannot be done here."""
    absent = sorted({package for tool, package in PACKAGES.items() if not shutil.which(tool)})
    if not absent:
        return
    if os.getuid() != 0 or not shutil.which("apt-get"):
        print(f"as root on Debian or Ubuntu: apt-get install {' '.join(absent)}", file=sys.stderr)
        return
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *absent]):
        subprocess.run(["apt-get", "-qq", *arguments], env=quiet, stdout=sys.stderr)


class Cluster:
    """The cluster in one state folder, running or not."""

    def __init__(self, state: Path = STATE):
        self.state = state.resolve()
        self.etc = self.state / "etc"

    @property
    def environment(self) -> dict[str, str]:
        """What Slurm's commands need to find this cluster and no other."""
        return {**os.environ, "SLURM_CONF": str(self.etc / "slurm.conf")}

    def start(self) -> None:
        """Start every daemon and wait until all nodes are idle and accounting knows the user."""
        if reason := missing():
            raise ClusterError(reason)
        if self.running():
            raise ClusterError(f"{self.state}: a cluster runs there already")
        shutil.rmtree(self.state, ignore_errors=True)
        self.etc.mkdir(parents=True, mode=0o755)
        self._configure()
        self._start_munge()
        self._start_accounting()
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        wait(lambda: set(self._node_states()) == {"idle"}, 60, "all nodes idle")

    def stop(self) -> None:
        """End the daemons and what they started, by their pid files; remove the state folder."""
        for node in NODES:
            self.crash(node)
        self.end("slurmctld", "slurmdbd", "mariadbd", "munged")
        shutil.rmtree(self.state, ignore_errors=True)

    def end(self, *daemons: str) -> None:
        """End daemons of the head node, one after the other."""
        for daemon in daemons:
            if pid := self._pid(daemon):
                os.kill(pid, signal.SIGTERM)
                wait(lambda pid=pid: not alive(pid), 30, f"the end of {daemon}")

    def running(self) -> list[str]:
        """The daemons that are alive."""
        return [
            name
            for name in ("munged", "mariadbd", "slurmdbd", "slurmctld", *NODES)
            if self._pid(name)
        ]

    def run(self, *command: str, check: bool = True) -> str:
        """The output of one of Slurm's commands, on this cluster."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if check and done.returncode != 0:
            raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def start_controller(self) -> None:
        self._daemon("slurmctld", "slurmctld", "-f", str(self.etc / "slurm.conf"))
        wait(lambda: self.run("scontrol", "ping", check=False).endswith("UP"), 60, "slurmctld")

    def start_database(self) -> None:
        self._daemon("slurmdbd", "slurmdbd")

    def start_node(self, node: str) -> None:
        """Boot a node: a slurmd that has the configuration in /etc/slurm, as its jobs expect."""
        inside = (
            f"hostname {node} && mount --bind {self.etc} /etc/slurm"
            f" && mount --bind {self.etc}/hosts /etc/hosts && exec slurmd -N {node}"
        )
        isolated = ["setsid", "unshare", "--mount", "--uts", "sh", "-c", inside]
        Path("/etc/slurm").mkdir(exist_ok=True)
        self._daemon(node, *isolated)

    def crash(self, node: str) -> None:
        """Kill a node and everything on it at once, as a loss of power would."""
        if not (pid := self._pid(node)):
            return
        namespace = os.readlink(f"/proc/{pid}/ns/uts")
        while inhabitants := list(_inhabitants(namespace)):
            for inhabitant in inhabitants:
                _kill(inhabitant)
            time.sleep(0.1)

    def boot(self, node: str) -> None:
        """Start a crashed node again."""
        self.start_node(node)
        wait(lambda: self._node_states(node) in (["idle"], ["mixed"]), 60, f"{node} idle")

    def _configure(self) -> None:
        host = socket.gethostname()
        ports = iter(_free_ports(3 + len(NODES)))
        values = {
            "state": self.state,
            "host": host,
            "names": ",".join(NODES),
            "slurmctld_port": next(ports),
            "slurmdbd_port": next(ports),
            "mariadb_port": next(ports),
        }
        self.mariadb_port = values["mariadb_port"]
        nodes = [NODE.format(name=name, port=next(ports), gpus=GPUS) for name in NODES]
        slurm_conf = SLURM_CONF.format(nodes="\n".join(nodes), **values)
        self._write("slurm.conf", slurm_conf)
        self._write("slurmdbd.conf", SLURMDBD_CONF.format(**values), mode=0o600)
        devices = [self.state / f"gpu{number}" for number in range(GPUS)]
        for number, device in enumerate(devices):
            subprocess.run(["mknod", "-m", "666", device, "c", "240", str(number)], check=True)
        files = f"{self.state}/gpu[0-{GPUS - 1}]"
        self._write("gres.conf", f"AutoDetect=off\nName=gpu Type=fake File={files}\n")
        self._write("hosts", f"127.0.0.1 localhost {host} {' '.join(NODES)}\n")

    def _write(self, name: str, content: str, mode: int = 0o644) -> None:
        path = self.etc / name
        path.write_text(content)
        path.chmod(mode)

    def _start_munge(self) -> None:
        key = self.state / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        files = {"key-file": key, "socket": self.state / "munge.socket"}
        files |= {"pid-file": self.state / "munged.pid", "log-file": self.state / "munged.log"}
        files |= {"seed-file": self.state / "munged.seed"}
        self._daemon("munged", "munged", "--force", *(f"--{k}={v}" for k, v in files.items()))

    def _start_accounting(self) -> None:
        data = self.state / "mariadb"
        database = self.state / "mariadb.socket"
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root"]
            + ["--auth-root-authentication-method=normal", "--skip-test-db"],
            check=True,
            capture_output=True,
        )
        start = self.state / "start.sql"
        start.write_text(
            "CREATE DATABASE IF NOT EXISTS slurm;"
            "\nGRANT ALL ON slurm.* TO 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';\n"
        )
        self._daemon(
            "mariadbd",
            *["mariadbd", "--no-defaults", "--user=root", f"--datadir={data}"],
            *[f"--socket={database}", f"--pid-file={self.state}/mariadbd.pid"],
            *["--bind-address=127.0.0.1", f"--port={self.mariadb_port}", "--skip-name-resolve"],
            *[f"--init-file={start}", "--innodb-lock-wait-timeout=900"],
        )
        self.start_database()
        add = ["sacctmgr", "-i", "add"]
        wait(lambda: self.run(*add, "cluster", "virtual", check=False), 60, "slurmdbd")
        self.run(*add, "account", "research", "cluster=virtual")
        self.run(*add, "user", "root", "account=research", "cluster=virtual")

    def _daemon(self, name: str, *command: str) -> None:
        """Start a daemon and wait for the pid file that it writes."""
        with (self.state / f"{name}.out").open("ab") as output:
            subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait(lambda: self._pid(name), 60, f"{name} (see {self.state}/{name}.out and .log)")

    def _pid(self, name: str) -> int:
        """The process of a daemon, 0 if it is not alive."""
        path = self.state / f"{name}.pid"
        pid = int(path.read_text() or 0) if path.exists() else 0
        return pid if pid and alive(pid) else 0

    def _node_states(self, node: str = ",".join(NODES)) -> list[str]:
        return self.run("sinfo", "-hN", "-p", "batch", "-n", node, "-o", "%T").split()


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait(condition: Callable[[], T], seconds: float, what: str) -> T:
    """What `condition` returns, once it is true; ClusterError if it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (met := condition()):
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.2)
    return met


def _inhabitants(namespace: str):
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "ns/uts") == namespace and alive(int(process.name)):
                yield int(process.name)
        except OSError:
            continue


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["install", "start", "stop", "status"])
    parser.add_argument("--state", type=Path, default=STATE, help="the state folder: %(default)s")
    arguments = parser.parse_args()
    cluster = Cluster(arguments.state)
    try:
        if arguments.action == "install":
            install()
        elif arguments.action == "start":
            cluster.start()
            print(f"export SLURM_CONF={cluster.etc / 'slurm.conf'}")
        elif arguments.action == "stop":
            cluster.stop()
        elif running := cluster.running():
            print("running:", *running)
            print(cluster.run("sinfo"))
            print(cluster.run("squeue", "--states=all"))
        else:
            print("not running")
    except ClusterError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
