"""deploy/kubernetes agrees with itself and with the service; `make manifests` knows the schemas."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from httpx import AsyncClient

from service.executors.device_process import PROBE_MS, START_MS
from service.settings import PREFIX, Settings
from tests.rigs.paths import ROOT

FOLDERS = [ROOT / "deploy" / "kubernetes" / name for name in ("base", "gpu")]
by_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def read(path: Path) -> Any:
    """The one document in a file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def pod(folder: Path) -> Any:
    """Return the pod of the deployment in a folder."""
    return read(folder / "deployment.yaml")["spec"]["template"]["spec"]


@by_folder
def test_every_file_is_named(folder: Path) -> None:
    """The kustomization has all of its folder, and nothing that is not there."""
    named = read(folder / "kustomization.yaml")["resources"]
    files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert {name for name in named if name.endswith(".yaml")} == files
    assert all((folder / name).exists() for name in named)


@by_folder
def test_selectors(folder: Path) -> None:
    """A deployment, its service and its spread over hosts select the pods that it makes."""
    spec = read(folder / "deployment.yaml")["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    assert read(folder / "service.yaml")["spec"]["selector"] == labels
    (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    for name in ("disruption.yaml", "network.yaml"):
        rule = read(FOLDERS[0] / name)["spec"]
        selected = (rule.get("selector") or rule["podSelector"])["matchLabels"]
        assert selected.items() <= labels.items()


@by_folder
async def test_the_service_has_what_is_asked_of_it(folder: Path, client: AsyncClient) -> None:
    """Probes ask routes that there are, and variables are settings."""
    (container,) = pod(folder)["containers"]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        answer = await client.get(container[name]["httpGet"]["path"])
        assert answer.status_code == 200
    variables = {each["name"]: each.get("value", "") for each in container["env"]}
    Settings.model_validate({k.removeprefix(PREFIX).lower(): v for k, v in variables.items()})
    assert "valueFrom" in container["env"][0], "keys are in a secret"
    assert container["ports"][0]["containerPort"] == Settings().port


@by_folder
def test_nothing_runs_as_root(folder: Path) -> None:
    """The user is the image's own, who may write to /tmp alone and gain no rights."""
    found = pod(folder)
    user = found["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert found["securityContext"]["runAsNonRoot"]
    (container,) = found["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert [each["mountPath"] for each in container["volumeMounts"]] == ["/tmp"]


def test_one_device_process_for_each_gpu() -> None:
    """An instance has one GPU and one server; a new one starts when the old one has ended.

    It is ready while its GPU is: a probe waits for longer than the product there may take.
    """
    (container,) = pod(FOLDERS[1])["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"name": "SERVICE_WORKERS", "value": "1"} in container["env"]
    assert {"name": "SERVICE_DEVICE", "value": "cuda"} in container["env"]
    assert container["readinessProbe"]["timeoutSeconds"] * 1000 > PROBE_MS
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] * 1000 >= START_MS
    update = read(FOLDERS[1] / "deployment.yaml")["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxSurge": 0, "maxUnavailable": 1}
    scaled = read(FOLDERS[0] / "autoscaler.yaml")["spec"]["scaleTargetRef"]["name"]
    assert scaled == read(FOLDERS[0] / "deployment.yaml")["metadata"]["name"]
