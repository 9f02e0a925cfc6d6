"""The files of docker/: images that can be built from this tree, and a RayJob whose fields KubeRay knows."""

import re
import shlex
from fnmatch import fnmatch
from typing import Any

import pytest
import yaml

from arbitrage.execution.ray.metrics import COUNTERS, GAUGES
from tests.support.head import ROOT

IMAGES = {"Dockerfile.cpu": "constraints.txt", "Dockerfile.gpu": "constraints-gpu.txt"}

# https://ray-project.github.io/kuberay/reference/api/ (KubeRay 1.6)
RAY_JOB = {
    "activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate", "metadata", "clusterSelector",
    "submitterConfig", "managedBy", "deletionStrategy", "runtimeEnvYAML", "jobId", "submissionMode",
    "entrypointResources", "entrypoint", "entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished",
    "shutdownAfterJobFinishes", "suspend",
}  # fmt: skip
RAY_CLUSTER = {
    "authOptions", "suspend", "managedBy", "autoscalerOptions", "headServiceAnnotations", "enableInTreeAutoscaling",
    "gcsFaultToleranceOptions", "headGroupSpec", "rayVersion", "workerGroupSpecs",
}  # fmt: skip
HEAD_GROUP = {"template", "headService", "enableIngress", "resources", "labels", "rayStartParams", "serviceType"}
WORKER_GROUP = {
    "suspend", "groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "resources", "labels",
    "rayStartParams", "template", "scaleStrategy", "numOfHosts",
}  # fmt: skip
CONTAINER = {"name", "image", "env", "resources", "ports", "volumeMounts"}
POD = {"securityContext", "volumes", "containers", "tolerations"}


def instructions(image: str) -> list[list[str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "docker" / image).read_text())
    return [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a path into the build: the last pattern that matches it or a parent decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and (fnmatch(path, pattern) or fnmatch(path, f"{pattern}/*")):
            sent = line.startswith("!")
    return sent


@pytest.mark.parametrize("image", IMAGES)
def test_what_an_image_copies_exists_and_is_sent(image: str) -> None:
    copied = [source for line in instructions(image) if line[0] == "COPY" for source in line[1:-1]]
    assert {"arbitrage", "routers", "pipelines", "pyproject.toml", "teachers.yaml"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert is_sent(source), f"{source} is held back by .dockerignore"


def test_nothing_private_is_sent() -> None:
    for path in [".git/config", ".env", ".venv/bin/python", "runs/first/manifest.json", "my.jsonl", "tests/a.py"]:
        assert not is_sent(path), path


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_pins_its_versions_and_is_no_root(image: str) -> None:
    lines = instructions(image)
    installs = [line for line in lines if line[:3] == ["RUN", "pip", "install"]]
    assert installs
    for line in installs:
        assert line[line.index("-c") + 1] == IMAGES[image]
        assert "cluster" in line[-1]
    verbs = [line[0] for line in lines]
    assert lines[verbs.index("USER")][1] not in ("root", "0")
    assert verbs.index("USER") > max(n for n, verb in enumerate(verbs) if verb == "RUN")
    assert lines[verbs.index("ENTRYPOINT")][1] == "[arbitrage]"
    assert not re.search(r"TOKEN|SECRET|PASSWORD|--index-url", (ROOT / "docker" / image).read_text())


def test_both_constraints_pin_what_the_job_server_needs() -> None:
    wanted = {"aiohttp-cors", "colorful", "opencensus", "opentelemetry-exporter-prometheus", "py-spy", "virtualenv"}
    for name in IMAGES.values():
        pinned = {line.split("==")[0] for line in (ROOT / name).read_text().splitlines()}
        assert wanted <= pinned, name


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text()
    named = set(re.findall(r"`ray_arbitrage_(\w+)`", text))
    assert named == set(GAUGES) | {f"{name}_total" for name in COUNTERS}


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    text = (ROOT / "docker" / "kuberay" / "rayjob.yaml").read_text()
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def test_the_rayjob_has_only_fields_that_kuberay_knows(manifests: dict[str, dict[str, Any]]) -> None:
    job = manifests["RayJob"]
    assert job["apiVersion"] == "ray.io/v1"
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    assert set(spec) <= RAY_JOB
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
    assert set(cluster) <= RAY_CLUSTER
    assert set(cluster["headGroupSpec"]) <= HEAD_GROUP
    for group in cluster["workerGroupSpecs"]:
        assert set(group) <= WORKER_GROUP
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for pod in pods(cluster):
        assert set(pod) <= POD
        for container in pod["containers"]:
            assert set(container) <= CONTAINER
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["volumes"]}
    starts = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert all(isinstance(value, str) for start in starts for value in start["rayStartParams"].values())


def test_the_rayjob_requires_a_token_gpus_and_a_shared_volume(manifests: dict[str, dict[str, Any]]) -> None:
    cluster = manifests["RayJob"]["spec"]["rayClusterSpec"]
    head, worker = pods(cluster)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert f"ray=={cluster['rayVersion']}" in (ROOT / "constraints-gpu.txt").read_text().split()
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    claim = manifests["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in (head, worker):
        assert pod["securityContext"]["runAsUser"] == 1000
        claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
        assert claims == [claim["metadata"]["name"]]


def test_the_entrypoint_is_a_command_line_that_arbitrage_understands(manifests: dict[str, dict[str, Any]]) -> None:
    from typer.main import get_command

    from arbitrage.cli.main import app

    words = shlex.split(manifests["RayJob"]["spec"]["entrypoint"])
    assert words[:2] == ["arbitrage", "run"]
    run = get_command(app).commands["run"]  # type: ignore[attr-defined]
    values = run.make_context("run", words[2:]).params
    assert values["ray"] == "auto"
    assert str(values["run_dir"]).startswith("/runs/")


def test_ranks_of_an_engine_have_shared_memory(manifests: dict[str, dict[str, Any]]) -> None:
    """Tensor-parallel ranks talk through /dev/shm, of which a container has 64 MB unless it is given more."""
    _, worker = pods(manifests["RayJob"]["spec"]["rayClusterSpec"])
    (container,) = worker["containers"]
    names = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
    (volume,) = [volume for volume in worker["volumes"] if volume["name"] in names]
    assert volume["emptyDir"]["medium"] == "Memory"
    assert "--ipc=host" in (ROOT / "docker" / "Dockerfile.gpu").read_text()
    assert "--ipc=host" in (ROOT / "docs" / "install.md").read_text()


def test_srun_gets_the_cores_of_the_job_by_itself() -> None:
    """Slurm 22.05 to 23.02 do not pass --cpus-per-task from the job to its srun."""
    lines = (ROOT / "docker" / "slurm" / "arbitrage.sbatch").read_text().splitlines()
    exported = next(number for number, line in enumerate(lines) if line.startswith("export SRUN_CPUS_PER_TASK="))
    first = next(
        number for number, line in enumerate(lines) if "srun " in line and not line.startswith(("#", "export"))
    )
    assert exported < first


def pods(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]
