"""Flink, Spark and Prism on this machine, on free loopback ports. `make` downloads them into ``build/engines``."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.processes import children
from tests.servers import free_port, require

ENGINES = Path(__file__).parents[1] / "build/engines"
BOOT = ENGINES / "boot"
"""Beam's program that starts an SDK worker in a process environment."""
PRISM = ENGINES / "prism"
"""Beam's own engine for a single machine."""

# Packages that Java 17 must open for Flink and Spark. Sources: the default configuration of Flink 1.19, and
# Spark's org.apache.spark.launcher.JavaModuleOptions.
_OPENED = (
    "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.text", "java.time",
    "java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.nio.ch",
    "sun.nio.cs", "sun.security.action", "sun.util.calendar", "jdk.internal.ref",
)  # fmt: skip
_JAVA = (
    "java",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
)


def jars(engine: str) -> Path:
    """Return the folder with the jars of ``flink`` or ``spark``. Skip the test if Java or the jars are missing."""
    if not shutil.which("java"):
        pytest.skip("Java is not installed")
    require(ENGINES / engine / ".done", "Maven")
    return ENGINES / engine / "jars"


def embedded(engine: str, folder: Path) -> list[str]:
    """Return the flags for an engine that the command starts and ends.

    Beam takes a single jar for Flink or Spark, so this function writes one whose manifest lists the engine's jars.
    """
    if engine == "prism":
        require(PRISM, "Go")
        return ["--runner", "PrismRunner", f"--prism_location={PRISM}", "--environment_type=LOOPBACK"]
    jar, lines = folder / f"{engine}.jar", [b"Manifest-Version: 1.0", f"Main-Class: {_JOB_SERVERS[engine]}".encode()]
    lines.append(f"Class-Path: {' '.join(file.as_uri() for file in sorted(jars(engine).glob('*.jar')))}".encode())
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", b"".join(map(_wrapped, lines)))
    if engine == "flink":
        return ["--runner", "FlinkRunner", "--flink_master=[auto]", f"--flink_job_server_jar={jar}"]
    return ["--runner", "SparkRunner", "--spark_master_url=local[2]", f"--spark_job_server_jar={jar}"]


def processes() -> list[str]:
    """Return the flags for Beam workers that run as processes next to those of the engine."""
    require(BOOT, "Go")
    boot = Path(sys.executable).with_name("catalogue-classifier-boot")
    command = json.dumps({"command": str(boot), "env": {"BEAM_BOOT": str(BOOT)}})
    return ["--environment_type=PROCESS", f"--environment_config={command}"]


def run_jar(flags: Sequence[str], jar: Path) -> None:
    """Run a job that was written to a jar, on the embedded engine that `flags` select."""
    engine = "flink" if "FlinkRunner" in flags else "spark"
    words = [*_JAVA, "-Dspark.master=local[2]", "-cp", f"{jar}:{jars(engine)}/*", JAR_RUNNERS[engine]]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-5000:]


def write_spark_submit(path: Path) -> None:
    """Write a ``spark-submit`` that accepts ``--master``, ``--class`` and a jar, for the Spark on this machine."""
    path.parent.mkdir()
    java = shlex.join(_JAVA)
    path.write_text(f'#!/bin/sh\nexec {java} "-Dspark.master=$2" -cp "$5:{jars("spark")}/*" "$4"\n')
    path.chmod(0o755)


def write_settings(settings: Mapping[str, object], folder: Path) -> None:
    """Write settings of Flink to its configuration file in `folder`."""
    (folder / "flink-conf.yaml").write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))


def flink_memory(settings: Mapping[str, object], folder: Path) -> dict[str, int]:
    """Return the sizes in bytes that Flink computes for a TaskManager.

    Args:
        settings: settings of Flink.
        folder: folder for the settings file.
    """
    write_settings(settings, folder)
    words = ["java", "-cp", f"{jars('flink')}/*", "org.apache.flink.runtime.util.bash.BashJavaUtils"]
    done = subprocess.run(
        [*words, "GET_TM_RESOURCE_PARAMS", "--configDir", str(folder)], capture_output=True, text=True, check=True
    )
    return {name: int(size) for name, size in re.findall(r"-D ([\w.-]+)=(\d+)b", done.stdout)}


def _wrapped(line: bytes) -> bytes:
    """Wrap a line of a jar manifest at 72 bytes; continuation lines start with a space."""
    blocks = [line[:70], *(b" " + line[start : start + 69] for start in range(70, len(line), 69))]
    return b"\r\n".join(blocks) + b"\r\n"


_JOB_SERVERS = {
    "flink": "org.apache.beam.runners.flink.FlinkJobServerDriver",
    "spark": "org.apache.beam.runners.spark.SparkJobServerDriver",
}

JAR_RUNNERS = {
    "flink": "org.apache.beam.runners.flink.FlinkPipelineRunner",
    "spark": "org.apache.beam.runners.spark.SparkPipelineRunner",
}


class Cluster:
    """The processes of an engine, which end with `stop`.

    Args:
        engine: ``flink`` or ``spark``.
        folder: folder for logs and other files of the processes.
        job: jar of a job, added to the class path of all processes.
    """

    def __init__(self, engine: str, folder: Path, job: Path | None = None) -> None:
        self._class_path, self.folder = f"{job}:{jars(engine)}/*" if job else f"{jars(engine)}/*", folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir()

    def start(
        self, name: str, main: str, *arguments: object, options: Sequence[str] = (), **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a Java process in its own session."""
        words = [*_JAVA, *options, "-cp", self._class_path, main, *map(str, arguments)]
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                words,
                cwd=self.folder,
                env=os.environ | {"BEAM_BOOT": str(BOOT)} | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes[name] = process
        return process

    def kill(self, name: str) -> None:
        """Kill a process, but not its children."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def kill_group(self, name: str) -> None:
        """Kill a process and its process group, as a cluster manager does."""
        process = self._processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def log(self, name: str) -> str:
        """Return the output of a process so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        """End all processes and their children."""
        for name in list(self._processes):
            with contextlib.suppress(ProcessLookupError):
                self.kill_group(name)

    def wait_for_port(self, name: str, port: int, seconds: float = 60) -> None:
        """Wait until a process listens on a port."""
        import socket

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            if self._processes[name].poll() is not None:
                break
            time.sleep(0.2)
        pytest.fail(f"{name} does not listen: {self.log(name)[-2000:]}")


class FlinkCluster(Cluster):
    """A JobManager, TaskManagers (by default with one slot each), and Beam's job server.

    Attributes:
        flags: flags that make ``classify`` use the cluster, with workers as processes on the TaskManagers.
        rest: URL of the JobManager's REST API and web page.
    """

    def __init__(
        self,
        folder: Path,
        task_managers: int = 2,
        settings: Mapping[str, object] | None = None,
        job: Path | None = None,
    ) -> None:
        super().__init__("flink", folder, job)
        require(BOOT, "Go")
        rpc, rest, self._job_port = free_port(), free_port(), free_port()
        self.rest, self._task_managers = f"http://127.0.0.1:{rest}", task_managers
        own: dict[str, object] = {
            **FLINK_HERE, **(settings or FLINK), "jobmanager.rpc.port": rpc, "rest.port": rest,
            "parallelism.default": task_managers, "io.tmp.dirs": folder, "taskmanager.cpu.cores": "1.0",
        }  # fmt: skip
        memory = flink_memory(own, folder)  # a TaskManager must be given all of its memory sizes
        outside = ("framework.off-heap.size", "task.off-heap.size", "network.max")
        self._direct = sum(int(memory[f"taskmanager.memory.{name}"]) for name in outside)
        write_settings(own | {name: f"{size}b" for name, size in memory.items()}, folder)

    def begin(self) -> None:
        """Start all processes."""
        self.start_job_manager()
        self.wait_for_task_managers(0)
        for number in range(self._task_managers):
            self.start_task_manager(number)
        self.wait_for_task_managers(self._task_managers)
        self.start_job_server()

    @property
    def flags(self) -> list[str]:
        """Flags that make ``classify`` use the cluster."""
        return [
            "--runner", "PortableRunner", f"--job_endpoint=127.0.0.1:{self._job_port}", *processes(),
            f"--parallelism={self._task_managers}", "--environment_cache_millis=60000", f"--flink_master={self.rest}",
        ]  # fmt: skip

    def start_job_manager(self) -> None:
        """Start the JobManager."""
        main = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        self.start("job manager", main, "--configDir", self.folder, options=["-Xmx448m"])

    def start_task_manager(self, number: int) -> None:
        """Start a TaskManager."""
        self.start(
            f"task manager {number}",
            "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
            "--configDir",
            self.folder,
            f"-Dtaskmanager.resource-id=tm{number}",
            options=["-Xmx640m", f"-XX:MaxDirectMemorySize={self._direct}", "-XX:MaxMetaspaceSize=256m"],
        )

    def start_job_server(self) -> None:
        """Start Beam's job server."""
        artifacts = self.folder / "artifacts"
        self.start(
            "job server",
            _JOB_SERVERS["flink"],
            f"--flink-master={self.rest.removeprefix('http://')}",
            "--job-host=127.0.0.1",
            f"--job-port={self._job_port}",
            "--artifact-port=0",
            "--expansion-port=0",
            f"--artifacts-dir={artifacts}",
            options=["-Xmx512m"],
            FLINK_CONF_DIR=str(self.folder),
        )
        self.wait_for_port("job server", self._job_port)

    def run_jar(self, jar: Path) -> None:
        """Run a job that was written to a jar, and wait until it ends."""
        main = "org.apache.flink.client.cli.CliFrontend"
        words = ["run", "-m", self.rest.removeprefix("http://"), "-c", JAR_RUNNERS["flink"], jar]
        process = self.start("client", main, *words, FLINK_CONF_DIR=str(self.folder))
        assert process.wait(300) == 0, self.log("client")[-5000:]

    def jobs(self) -> list[dict[str, Any]]:
        """Return the jobs known to the JobManager, each with its ``state``."""
        return _get(f"{self.rest}/jobs/overview")["jobs"]

    def wait_for_task_managers(self, count: int) -> None:
        """Wait until the JobManager responds and has `count` TaskManagers."""
        for _ in range(300):
            with contextlib.suppress(OSError):
                if _get(f"{self.rest}/overview")["taskmanagers"] == count:
                    return
            time.sleep(0.2)
        pytest.fail(f"Flink did not start: {self.log('job manager')[-2000:]}")


class SparkCluster(Cluster):
    """A Spark master, workers with one single-core executor each, and Beam's job server.

    Attributes:
        flags: flags that make ``classify`` use the cluster, with Beam's workers as processes that the executors start.
    """

    def __init__(self, folder: Path, count: int = 2) -> None:
        super().__init__("spark", folder)
        self._master_port, self._job_port = free_port(), free_port()
        (folder / "home").mkdir()
        (folder / "home/jars").symlink_to(jars("spark"))
        self._home = {"SPARK_HOME": str(folder / "home"), "SPARK_SCALA_VERSION": "2.12", "SPARK_LOCAL_IP": "127.0.0.1"}
        self._count = count
        self.flags = [
            "--runner", "PortableRunner", f"--job_endpoint=127.0.0.1:{self._job_port}", *processes(),
            "--environment_cache_millis=60000",
        ]  # fmt: skip

    def begin(self) -> None:
        """Start all processes."""
        master = f"spark://127.0.0.1:{self._master_port}"
        self._start("master", "deploy.master.Master", "--port", self._master_port)
        self.wait_for_port("master", self._master_port)
        for number in range(self._count):
            self._start(
                f"worker {number}", "deploy.worker.Worker", "--cores", 1, "--memory", "1g",
                "--work-dir", self.folder / f"worker-{number}", master,
            )  # fmt: skip
        self.start(
            "job server",
            _JOB_SERVERS["spark"],
            f"--spark-master-url={master}",
            "--job-host=127.0.0.1",
            f"--job-port={self._job_port}",
            "--artifact-port=0",
            "--expansion-port=0",
            f"--artifacts-dir={self.folder / 'artifacts'}",
            options=["-Xmx640m", "-Dspark.executor.memory=700m", "-Dspark.driver.host=127.0.0.1",
                     "-Dspark.driver.bindAddress=127.0.0.1", "-Dspark.ui.enabled=false"],
            **self._home,
        )  # fmt: skip
        self.wait_for_port("job server", self._job_port)

    def _start(self, name: str, main: str, *arguments: object) -> None:
        words = ["--host", "127.0.0.1", "--webui-port", free_port(), *arguments]
        self.start(name, f"org.apache.spark.{main}", *words, options=["-Xmx300m"], **self._home)

    def kill_executor(self, number: int) -> None:
        """Kill the executor of a worker; the worker then starts another executor."""
        (executor,) = children(self._processes[f"worker {number}"].pid)
        os.kill(executor, signal.SIGKILL)


FLINK_HERE: dict[str, object] = {
    "jobmanager.rpc.address": "127.0.0.1",
    "jobmanager.bind-host": "127.0.0.1",
    "rest.address": "127.0.0.1",
    "rest.bind-address": "127.0.0.1",
    "taskmanager.bind-host": "127.0.0.1",
    "taskmanager.host": "127.0.0.1",
    "heartbeat.timeout": 10000,
    "heartbeat.interval": 2000,
}

# The smallest memory sizes that suffice for the tasks of a run.
FLINK: dict[str, object] = {
    "jobmanager.memory.process.size": "1024m",
    "taskmanager.numberOfTaskSlots": 1,
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.task.heap.size": "512m",
    "taskmanager.memory.managed.size": "256m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.task.off-heap.size": "0",
    "taskmanager.memory.network.min": "256m",
    "taskmanager.memory.network.max": "256m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": 3,
    "restart-strategy.fixed-delay.delay": "2s",
    "classloader.resolve-order": "parent-first",
}


@contextlib.contextmanager
def spark_cluster(folder: Path) -> Iterator[SparkCluster]:
    """Run a cluster for the duration of the context."""
    cluster = SparkCluster(folder)
    try:
        cluster.begin()
        yield cluster
    finally:
        cluster.stop()


@contextlib.contextmanager
def worker_pool(port: int, folder: Path) -> Iterator[None]:
    """Run a pool of Beam workers that logs to ``pool.log``."""
    main = "apache_beam.runners.worker.worker_pool_main"
    words = [sys.executable, "-m", main, f"--service_port={port}", f"--container_executable={BOOT}"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT": "1", "PATH": path, "PYTHONUNBUFFERED": "1"}
    with (folder / "pool.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def flink_cluster(
    folder: Path, task_managers: int = 2, settings: Mapping[str, object] | None = None, job: Path | None = None
) -> Iterator[FlinkCluster]:
    """Run a cluster for the duration of the context. The default settings are `FLINK`."""
    cluster = FlinkCluster(folder, task_managers, settings, job)
    try:
        cluster.begin()
        yield cluster
    finally:
        cluster.stop()


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as response:
        return json.load(response)
