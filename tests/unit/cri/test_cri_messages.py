"""CRI messages made from the fact table, image archives, containerd's configuration and events."""

from __future__ import annotations

import hashlib
import json
import pathlib
import tarfile
import tomllib

from navarch.cri import containerd, containerd_events, images, proto


def test_messages_speak_the_wire_format() -> None:
    config = proto.message("PodSandboxConfig")(hostname="web", labels={"a": "b"})
    assert config.SerializeToString() == b"\x12\x03web2\x06\n\x01a\x12\x01b"
    again = proto.message("PodSandboxConfig").FromString(config.SerializeToString())
    assert again == config


def test_methods_and_enums() -> None:
    method = proto.method("RuntimeService", "RunPodSandbox")
    assert method.path == "/runtime.v1.RuntimeService/RunPodSandbox"
    assert not method.streams
    assert proto.method("RuntimeService", "GetContainerEvents").streams
    assert proto.enum("NamespaceMode", "NODE") == 2
    assert proto.enum("SecurityProfile.ProfileType", "Localhost") == 2


def test_archives_are_whole_and_the_same_each_time(tmp_path: pathlib.Path) -> None:
    files = {"bin": images.File(), "bin/app": images.File(b"#!/bin/sh\n"), "bin/link": images.File(link="app")}
    config = images.Config(entrypoint=["/bin/app"])
    for name in ("a.tar", "b.tar"):
        images.write_archive(tmp_path / name, "localhost/x:1", files, config)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        held = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]
    index = json.loads(held["index.json"])
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == "localhost/x:1"
    for path, data in held.items():
        if path.startswith("blobs/sha256/"):
            assert hashlib.sha256(data).hexdigest() == path.removeprefix("blobs/sha256/")
    manifest = json.loads(held["blobs/" + index["manifests"][0]["digest"].replace(":", "/")])
    image = json.loads(held["blobs/" + manifest["config"]["digest"].replace(":", "/")])
    assert image["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
    assert image["config"]["Entrypoint"] == ["/bin/app"]


def test_configuration_is_toml_and_says_what_the_machine_can() -> None:
    settings = containerd.Settings(pathlib.Path("/d"), pathlib.Path("/r"), "localhost/pause:1", pathlib.Path("/c"), pathlib.Path("/b"))
    for overlay, lower in ((True, True), (False, False)):
        tree = tomllib.loads(containerd.configuration(settings, overlay=overlay, lower_oom_score=lower))
        cri = tree["plugins"]["io.containerd.grpc.v1.cri"]
        assert cri["sandbox_image"] == "localhost/pause:1"
        assert cri["restrict_oom_score_adj"] is not lower
        assert cri["containerd"]["snapshotter"] == ("overlayfs" if overlay else "native")
        assert cri["cni"] == {"bin_dir": "/b", "conf_dir": "/c"}
        assert (tree["root"], tree["state"]) == ("/d/root", "/r/state")


def field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data


def test_exit_events_name_the_container_but_not_commands_in_it() -> None:
    def envelope(container: str, process: str) -> bytes:
        exit_event = field(1, container.encode()) + field(2, process.encode()) + b"\x18\x05"
        return field(2, b"k8s.io") + field(3, b"/tasks/exit") + field(4, field(1, b"type") + field(2, exit_event))

    assert containerd_events.container_of(envelope("abc", "abc")) == "abc"
    assert containerd_events.container_of(envelope("abc", "exec-1")) == ""
