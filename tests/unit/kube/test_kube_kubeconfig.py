from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization

from fakes.api_server import VERSION, FakeApiServer
from fita.kube.access import ClusterAccess, environment_proxy
from fita.kube.client import KubernetesClient
from fita.kube.credential import token_file
from fita.kube.errors import (
    ConnectionFailedError,
    CredentialPluginError,
    KubeconfigError,
    UnauthorizedError,
)
from fita.kube.kubeconfig import load_kubeconfig
from fita.localcluster.pki import ADMIN, GATEWAY, Authority, KeyPair

AUTHORITY = Authority.create()
SERVER = AUTHORITY.server(["127.0.0.1", "kubernetes.example"])
CLIENT = AUTHORITY.client(ADMIN)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def server_tls(folder: Path, pair: KeyPair = SERVER) -> ssl.SSLContext:
    """As kube-apiserver: asks for a client certificate and leaves the answer to authentication."""
    (folder / "server.pem").write_bytes(pair.certificate + pair.key)
    (folder / "authority.pem").write_bytes(AUTHORITY.pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "authority.pem"))
    context.load_cert_chain(folder / "server.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer(tls=server_tls(tmp_path)) as started:
        yield started


def config(
    server: str, *, user: dict[str, object] | None = None, cluster: dict[str, object] | None = None
) -> dict[str, object]:
    trusted = {"certificate-authority-data": b64(AUTHORITY.pem)} if cluster is None else cluster
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, **trusted}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "farm"}}],
        "current-context": "x",
        "preferences": {},
    }


def write(folder: Path, content: dict[str, object], name: str = "config") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(content))
    return path


async def ask(access: ClusterAccess) -> str:
    async with asyncio.timeout(20), KubernetesClient(access) as client:
        return await client.version()


async def test_certificates_inside(server: FakeApiServer, tmp_path: Path) -> None:
    user = {"client-certificate-data": b64(CLIENT.certificate), "client-key-data": b64(CLIENT.key)}
    access = load_kubeconfig(write(tmp_path, config(server.url, user=user)))
    assert access.namespace == "farm"
    assert await ask(access) == VERSION
    assert server.requests[-1].user == ADMIN.user


def test_a_key_does_not_stay_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    user = {"client-certificate-data": b64(CLIENT.certificate), "client-key-data": b64(CLIENT.key)}
    path = write(tmp_path, config("https://host", user=user))
    load_kubeconfig(path)
    assert list(tmp_path.iterdir()) == [path]


async def test_certificates_in_files_beside_it(server: FakeApiServer, tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.crt").write_bytes(AUTHORITY.pem)
    (tmp_path / "u.crt").write_bytes(CLIENT.certificate)
    (tmp_path / "u.key").write_bytes(CLIENT.key)
    user = {"client-certificate": "u.crt", "client-key": str(tmp_path / "u.key")}
    content = config(server.url, user=user, cluster={"certificate-authority": "pki/ca.crt"})
    assert await ask(load_kubeconfig(write(tmp_path, content))) == VERSION
    assert server.requests[-1].user == ADMIN.user


async def test_renewed_certificate_files_are_read_again(server: FakeApiServer, tmp_path: Path) -> None:
    (tmp_path / "u.crt").write_bytes(CLIENT.certificate)
    (tmp_path / "u.key").write_bytes(CLIENT.key)
    user = {"client-certificate": "u.crt", "client-key": "u.key"}
    access = load_kubeconfig(write(tmp_path, config(server.url, user=user)))
    async with asyncio.timeout(20), KubernetesClient(access) as client:
        await client.version()
        renewed = AUTHORITY.client(GATEWAY)
        (tmp_path / "u.crt").write_bytes(renewed.certificate)
        (tmp_path / "u.key").write_bytes(renewed.key)
        await client.version()
        server.fail(401, reason="Unauthorized")
        await client.version()
    assert [seen.user for seen in server.requests] == [ADMIN.user, ADMIN.user, ADMIN.user, GATEWAY.user]


async def test_a_token_and_a_password(server: FakeApiServer, tmp_path: Path) -> None:
    await ask(load_kubeconfig(write(tmp_path, config(server.url, user={"token": "secret"}))))
    assert server.requests[-1].headers["Authorization"] == "Bearer secret"
    user = {"username": "ada", "password": "pass:wörd"}
    await ask(load_kubeconfig(write(tmp_path, config(server.url, user=user))))
    assert base64.b64decode(server.requests[-1].headers["Authorization"].split()[1]) == "ada:pass:wörd".encode()


async def test_a_token_file_is_read_again(server: FakeApiServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    server.token = "one"
    access = load_kubeconfig(write(tmp_path, config(server.url, user={"tokenFile": "token"})))
    async with asyncio.timeout(20), KubernetesClient(access) as client:
        await client.version()
        (tmp_path / "token").write_text("two\n")
        await client.version()
        server.token = "two"
        await client.version()
        server.token = "three"
        with pytest.raises(UnauthorizedError):
            await client.version()
    tokens = [seen.headers["Authorization"] for seen in server.requests]
    assert tokens == ["Bearer one", "Bearer one", "Bearer one", "Bearer two", "Bearer two", "Bearer two"]


async def test_a_token_file_is_read_again_by_its_age(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    path = tmp_path / "token"
    path.write_text("one")
    credential = token_file(path, clock=lambda: now)
    assert (await credential.login()).authorization == "Bearer one"
    path.write_text("two")
    now += timedelta(seconds=49)
    assert (await credential.login()).authorization == "Bearer one"
    now += timedelta(seconds=2)
    assert (await credential.login()).authorization == "Bearer two"
    path.write_text("")
    now += timedelta(minutes=2)
    with pytest.raises(KubeconfigError, match="empty"):
        await credential.login()


async def test_a_server_under_another_name(tmp_path: Path) -> None:
    async with FakeApiServer(tls=server_tls(tmp_path, AUTHORITY.server(["kubernetes.example"]))) as server:
        with pytest.raises(ConnectionFailedError, match="not trusted"):
            await ask(load_kubeconfig(write(tmp_path, config(server.url))))
        cluster = {"certificate-authority-data": b64(AUTHORITY.pem), "tls-server-name": "kubernetes.example"}
        assert await ask(load_kubeconfig(write(tmp_path, config(server.url, cluster=cluster)))) == VERSION


async def test_another_authority_is_not_trusted(server: FakeApiServer, tmp_path: Path) -> None:
    cluster = {"certificate-authority-data": b64(Authority.create().pem)}
    with pytest.raises(ConnectionFailedError, match="not trusted") as caught:
        await ask(load_kubeconfig(write(tmp_path, config(server.url, cluster=cluster))))
    assert "authority" in caught.value.hint
    with pytest.raises(ConnectionFailedError, match="not trusted"):
        await ask(load_kubeconfig(write(tmp_path, config(server.url, cluster={}))))
    cluster = {"insecure-skip-tls-verify": True}
    assert await ask(load_kubeconfig(write(tmp_path, config(server.url, cluster=cluster)))) == VERSION


async def test_acting_as_somebody_else(server: FakeApiServer, tmp_path: Path) -> None:
    user = {"token": "t", "as": "ada", "as-groups": ["g1"], "as-user-extra": {"reason": ["why"]}, "as-uid": "7"}
    await ask(load_kubeconfig(write(tmp_path, config(server.url, user=user))))
    headers = server.requests[-1].headers
    assert headers["Impersonate-User"] == "ada"
    assert headers["Impersonate-Group"] == "g1"
    assert headers["Impersonate-Uid"] == "7"
    assert headers["Impersonate-Extra-reason"] == "why"


def plugin(folder: Path, script: str) -> str:
    path = folder / "log-in"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return "./log-in"


def exec_user(command: str, **more: object) -> dict[str, object]:
    entry = {"apiVersion": "client.authentication.k8s.io/v1", "command": command, **more}
    return {"exec": {"interactiveMode": "IfAvailable", **entry}}


def exec_credential(**status: str) -> str:
    content = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    return json.dumps(content)


async def test_a_login_program_is_run_once_for_many_requests(server: FakeApiServer, tmp_path: Path) -> None:
    script = f"""echo run >> runs
printf '%s' "$KUBERNETES_EXEC_INFO" > info; printf '%s' "$REGION $1" > given
echo '{exec_credential(token="t1", expirationTimestamp="2099-01-01T00:00:00Z")}'"""
    command = plugin(tmp_path, f"cd '{tmp_path}'\n{script}")
    more = {"args": ["get-token"], "env": [{"name": "REGION", "value": "here"}], "provideClusterInfo": True}
    access = load_kubeconfig(write(tmp_path, config(server.url, user=exec_user(command, **more))))
    async with asyncio.timeout(20), KubernetesClient(access) as client, asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(client.version())
    assert {seen.headers["Authorization"] for seen in server.requests} == {"Bearer t1"}
    assert (tmp_path / "runs").read_text() == "run\n"
    assert (tmp_path / "given").read_text() == "here get-token"
    info = json.loads((tmp_path / "info").read_text())
    assert info["spec"]["interactive"] is False
    assert info["spec"]["cluster"]["server"] == server.url
    assert base64.b64decode(info["spec"]["cluster"]["certificate-authority-data"]) == AUTHORITY.pem


async def test_a_login_is_renewed_before_its_end_and_after_a_refusal(
    server: FakeApiServer, tmp_path: Path
) -> None:
    ending = (datetime.now(UTC) + timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    script = f"cd '{tmp_path}'; echo run >> runs; cat answer"
    (tmp_path / "answer").write_text(exec_credential(token="short", expirationTimestamp=ending))
    access = load_kubeconfig(write(tmp_path, config(server.url, user=exec_user(plugin(tmp_path, script)))))
    async with asyncio.timeout(20), KubernetesClient(access) as client:
        await client.version()
        (tmp_path / "answer").write_text(exec_credential(token="long"))
        await client.version()
        await client.version()
        assert (tmp_path / "runs").read_text() == "run\n" * 2
        server.token = "new"
        (tmp_path / "answer").write_text(exec_credential(token="new"))
        await client.version()
    assert (tmp_path / "runs").read_text() == "run\n" * 3


async def test_a_login_program_gives_a_certificate(server: FakeApiServer, tmp_path: Path) -> None:
    status = {"clientCertificateData": CLIENT.certificate.decode(), "clientKeyData": CLIENT.key.decode()}
    (tmp_path / "answer").write_text(exec_credential(**status))
    command = plugin(tmp_path, f"cat '{tmp_path}/answer'")
    assert await ask(load_kubeconfig(write(tmp_path, config(server.url, user=exec_user(command))))) == VERSION
    assert server.requests[-1].user == ADMIN.user


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo 'log in first' >&2; exit 3", "status 3: log in first"),
        ("echo nonsense", "does not print an ExecCredential"),
        ("""echo '{"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential"}'""", "v1beta1"),
        (f"echo '{exec_credential()}'", "no token"),
        (f"echo '{exec_credential(clientCertificateData='x')}'", "without its key"),
        (f"echo '{exec_credential(clientCertificateData='x', clientKeyData='y')}'", "cannot be used"),
    ],
)
async def test_a_login_program_that_fails(
    server: FakeApiServer, tmp_path: Path, script: str, problem: str
) -> None:
    access = load_kubeconfig(write(tmp_path, config(server.url, user=exec_user(plugin(tmp_path, script)))))
    with pytest.raises(KubeconfigError, match=problem) as caught:
        await ask(access)
    assert caught.value.path == tmp_path / "config"


async def test_a_login_program_that_is_not_there(server: FakeApiServer, tmp_path: Path) -> None:
    user = exec_user("no-such-login", installHint="install the cloud's tool\n")
    with pytest.raises(CredentialPluginError, match="no-such-login is not installed") as caught:
        await ask(load_kubeconfig(write(tmp_path, config(server.url, user=user))))
    assert caught.value.hint == "install the cloud's tool"


async def test_a_login_program_that_hangs_is_ended_with_all_that_it_started(
    server: FakeApiServer, tmp_path: Path
) -> None:
    script = f"sleep 1000 & echo $! > '{tmp_path}/child'; echo $$ > '{tmp_path}/parent'; wait"
    access = load_kubeconfig(write(tmp_path, config(server.url, user=exec_user(plugin(tmp_path, script)))))
    async with KubernetesClient(access) as client, asyncio.TaskGroup() as group:
        request = group.create_task(client.version())
        parent, child = tmp_path / "parent", tmp_path / "child"
        async with asyncio.timeout(20):
            while not (parent.exists() and parent.read_text() and child.read_text()):
                await asyncio.sleep(0.005)
        request.cancel()
    assert not is_running(int(parent.read_text()))
    async with asyncio.timeout(20):  # it has been killed; the system may take its time
        while is_running(int(child.read_text())):
            await asyncio.sleep(0.005)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_several_files_count_as_one(tmp_path: Path) -> None:
    first = write(tmp_path, {"kind": "Config", "current-context": "far", "contexts": None, "users": None}, "one")
    two = config("https://two:6443")
    two["contexts"].append({"name": "far", "context": {"cluster": "near"}})
    second = write(tmp_path, two, "two")
    three = config("https://three:6443")
    three["clusters"].append({"name": "near", "cluster": {"server": "http://near/k8s/"}})
    third = write(tmp_path, three, "three")
    paths = os.pathsep.join(map(str, [tmp_path / "missing", first, second, third]))
    access = load_kubeconfig(environment={"KUBECONFIG": paths})
    assert (access.server, access.namespace, access.tls) == ("http://near/k8s", "default", None)
    assert load_kubeconfig(environment={"KUBECONFIG": paths}, context="x").server == "https://two:6443"


def test_the_home_folder(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    write(tmp_path / ".kube", config("https://home"))
    environment = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert load_kubeconfig(environment=environment).server == "https://home"


async def test_the_service_account_of_a_pod(server: FakeApiServer, tmp_path: Path) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "ca.crt").write_bytes(AUTHORITY.pem)
    (account / "token").write_text("pod-token")
    (account / "namespace").write_text("fita-system")
    host, port = "127.0.0.1", str(server.port)
    environment = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    access = load_kubeconfig(environment=environment, service_account=account)
    assert access.namespace == "fita-system"
    assert await ask(access) == VERSION
    assert server.requests[-1].headers["Authorization"] == "Bearer pod-token"
    environment["KUBERNETES_SERVICE_HOST"] = "fd00::1"
    six = load_kubeconfig(environment=environment, service_account=account)
    assert six.server == f"https://[fd00::1]:{port}"


def test_a_pod_without_its_account(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    with pytest.raises(KubeconfigError, match="service account") as caught:
        load_kubeconfig(environment=environment, service_account=tmp_path)
    assert "automountServiceAccountToken" in caught.value.hint


def test_no_cluster_at_all(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="no Kubernetes cluster") as caught:
        load_kubeconfig(environment={"HOME": str(tmp_path)})
    assert "fita up" in caught.value.hint
    with pytest.raises(KubeconfigError, match="KUBECONFIG names no file"):
        load_kubeconfig(environment={"KUBECONFIG": str(tmp_path / "missing")})
    with pytest.raises(KubeconfigError, match="KUBECONFIG names no file"):
        load_kubeconfig(environment={"KUBECONFIG": ":"})


def bad(change: dict[str, object]) -> dict[str, object]:
    return {**config("https://host:6443"), **change}


def bad_user(**user: object) -> dict[str, object]:
    return config("https://host:6443", user=user)


def bad_cluster(server: str = "https://host:6443", **cluster: object) -> dict[str, object]:
    return config(server, cluster={name.replace("_", "-"): value for name, value in cluster.items()})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({}, "no current-context"),
        (bad({"kind": "Pod"}), "its kind must be Config"),
        (bad({"current-context": "y"}), "no context 'y'.*known: x"),
        (bad({"contexts": [{"name": "x", "context": {"cluster": "d"}}]}), "no cluster 'd'.*known: c"),
        (bad({"contexts": [{"name": "x", "context": {"cluster": "c", "user": "v"}}]}), "no user 'v'.*known: u"),
        (bad({"contexts": [{"name": "x", "context": {}}]}), "names no cluster"),
        (bad({"clusters": {"c": 1}}), r"Expected `array.*clusters"),
        (bad_user(token=12345), r"Expected `str`, got `int`.*users\[0\].user.token.*quotes"),
        (bad_cluster("host:6443"), "no URL"),
        (bad_cluster(""), "no URL"),
        (bad_cluster("https://[::1:6443"), "no URL"),
        (bad_cluster("https://host:port"), "no URL"),
        (bad_cluster("https://host:99999"), "no URL"),
        (bad_cluster(certificate_authority_data="###"), "certificate-authority-data is no base64"),
        (bad_cluster(certificate_authority_data=b64(b"no certificate")), "authority is no PEM"),
        (bad_cluster(certificate_authority="missing.crt"), "names missing.crt, which cannot be read"),
        (
            bad_cluster(certificate_authority_data=b64(AUTHORITY.pem), insecure_skip_tls_verify=True),
            "remove one of the two",
        ),
        (bad_user(**{"client-certificate-data": b64(CLIENT.certificate)}), "no key"),
        (
            bad_user(
                **{
                    "client-certificate-data": b64(CLIENT.certificate),
                    "client-key-data": b64(AUTHORITY.client(GATEWAY).key),
                }
            ),
            "do not work",
        ),
        (bad_user(**{"auth-provider": {"name": "gcp"}}), "auth-provider"),
        (bad_user(**exec_user("x", apiVersion="client.authentication.k8s.io/v1alpha1")), "v1alpha1"),
        (bad_user(**exec_user("x", interactiveMode="Always")), "asks a person"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, content: dict[str, object], problem: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(KubeconfigError, match=problem) as caught:
        load_kubeconfig(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"a: [1, 2\nb: 3", "no YAML in line 2"),
        (b"\xff\xfe\x00", "no YAML"),
        (b"just text", "no kubeconfig"),
        (b"- a\n- b\n", "no kubeconfig"),
        (b"", "no current-context"),
        (b"[" * 1200, "no YAML"),
    ],
)
def test_what_is_no_kubeconfig(tmp_path: Path, text: bytes, problem: str) -> None:
    path = tmp_path / "config"
    path.write_bytes(text)
    with pytest.raises(KubeconfigError, match=problem):
        load_kubeconfig(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="cannot be read: No such file"):
        load_kubeconfig(tmp_path / "missing")


def test_a_key_with_a_password_asks_nobody(tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(CLIENT.key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    user = {"client-certificate-data": b64(CLIENT.certificate), "client-key-data": b64(key)}
    with pytest.raises(KubeconfigError, match="protected by a password"):
        load_kubeconfig(write(tmp_path, config("https://host", user=user)))


def test_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "inside.example")
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://proxy:3128")
    assert environment_proxy("https://outside.example:6443") == "http://proxy:3128"
    assert environment_proxy("https://inside.example:6443") == ""
    assert environment_proxy("https://127.0.0.1:6443") == ""
    assert environment_proxy("https://[::1]:6443") == ""
