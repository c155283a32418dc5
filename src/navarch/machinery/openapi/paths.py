"""Requests as OpenAPI operations: paths, methods, parameters, bodies and answers of resources.

In: what is served (`Resource`: from the fact table or a custom resource definition). Out: path items in the dialect of v2 or v3.
Parameters that all operations of a path share stand at the path.

The deprecated `/watch/` paths are left out.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

from navarch.machinery.openapi.schemas import META, V2, Custom, Dialect, Tree, types_by_kind

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json")
APPLY = "application/apply-patch+yaml"
STATUS, DELETE_OPTIONS, PATCH = META + "Status", META + "DeleteOptions", META + "Patch"

QUERY: dict[str, tuple[str, str]] = {
    "allowWatchBookmarks": ("boolean", "Whether a watch may send bookmarks."),
    "command": ("string", "The command to run, one argument each time it is given."),
    "container": ("string", "The container; the only one, or the default one, if not given."),
    "continue": ("string", "Where a chunked list goes on: the token of its last answer."),
    "dryRun": ("string", "All: do everything but keep the result."),
    "fieldManager": ("string", "Whose the fields are that this sets."),
    "fieldSelector": ("string", "Which objects, by their fields."),
    "fieldValidation": ("string", "What to do about unknown or repeated fields: Ignore, Warn or Strict."),
    "follow": ("boolean", "Whether to go on with what is written from now on."),
    "force": ("boolean", "Whether to take fields from other managers."),
    "gracePeriodSeconds": ("integer", "Seconds until the object is removed."),
    "ignoreStoreReadErrorWithClusterBreakingPotential": ("boolean", "Whether to delete an object that cannot be read."),
    "insecureSkipTLSVerifyBackend": ("boolean", "Whether not to check the node's certificate."),
    "labelSelector": ("string", "Which objects, by their labels."),
    "limit": ("integer", "How many objects to answer at once."),
    "limitBytes": ("integer", "How many bytes to answer at most."),
    "orphanDependents": ("boolean", "Deprecated: propagationPolicy says it."),
    "path": ("string", "The path to ask for."),
    "ports": ("integer", "The ports to forward."),
    "pretty": ("string", "Whether to write the answer for people."),
    "previous": ("boolean", "Whether to read of the container's previous run."),
    "propagationPolicy": ("string", "What happens to what the object owns: Orphan, Background or Foreground."),
    "resourceVersion": ("string", "Which state of the cluster to answer from."),
    "resourceVersionMatch": ("string", "How resourceVersion is meant: Exact or NotOlderThan."),
    "sendInitialEvents": ("boolean", "Whether a watch begins with what is there."),
    "sinceSeconds": ("integer", "How far back to begin."),
    "stderr": ("boolean", "Whether to send standard error."),
    "stdin": ("boolean", "Whether to send to standard input."),
    "stdout": ("boolean", "Whether to send standard output."),
    "stream": ("string", "Which stream: All, Stdout or Stderr."),
    "tailLines": ("integer", "How many lines from the end."),
    "timeoutSeconds": ("integer", "How long the request may take."),
    "timestamps": ("boolean", "Whether to begin each line with its time."),
    "tty": ("boolean", "Whether the streams are a terminal."),
    "watch": ("boolean", "Whether to answer with changes as they happen."),
}
LIST = ("allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch",
        "sendInitialEvents", "timeoutSeconds", "watch")  # fmt: skip
WRITE = ("dryRun", "fieldManager", "fieldValidation")
DELETE = ("dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents", "propagationPolicy")
LOG = ("container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "previous", "sinceSeconds", "stream", "tailLines", "timestamps")
STREAMS = ("container", "stderr", "stdin", "stdout", "tty")
CONNECT: dict[str, tuple[str, ...]] = {
    "PodExecOptions": ("command", *STREAMS),
    "PodAttachOptions": STREAMS,
    "PodPortForwardOptions": ("ports",),
    "PodProxyOptions": ("path",),
    "ServiceProxyOptions": ("path",),
    "NodeProxyOptions": ("path",),
}
PARAMETERS: dict[str, tuple[str, ...]] = {
    "list": LIST,
    "post": WRITE,
    "put": WRITE,
    "patch": (*WRITE, "force"),
    "delete": DELETE,
    "deletecollection": tuple(sorted({*DELETE, *LIST} - {"allowWatchBookmarks", "watch"})),
}
DELETE_ANSWERS_OBJECT = frozenset(
    [("", plural) for plural in ("persistentvolumeclaims", "persistentvolumes", "pods", "podtemplates", "resourcequotas",
                                 "serviceaccounts", "services")]
    + [("resource.k8s.io", plural) for plural in ("deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices")]
    + [("storage.k8s.io", plural) for plural in ("csidrivers", "csinodes", "storageclasses", "volumeattachments",
                                                 "volumeattributesclasses")]
)  # fmt: skip
"""Resources whose deletion answers with the object rather than a Status."""
METHODS = {"list": "get", "get": "get", "post": "post", "put": "put", "patch": "patch", "delete": "delete", "deletecollection": "delete"}
WORDS = {"list": "list", "get": "read", "post": "create", "put": "replace", "patch": "patch", "delete": "delete",
         "deletecollection": "delete", "connect": "connect"}  # fmt: skip
SAYS = {
    "list": "list or watch objects of kind {kind}",
    "get": "read {of}the specified {kind}",
    "post": "create {of}a {kind}",
    "put": "replace {of}the specified {kind}",
    "patch": "partially update {of}the specified {kind}",
    "delete": "delete a {kind}",
    "deletecollection": "delete collection of {kind}",
    "connect": "connect {method} requests to {of}{kind}",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """A resource or subresource that is served. `kind` is that of its objects, `parent` that of the resource itself."""

    group: str
    version: str
    plural: str
    subresource: str
    namespaced: bool
    actions: tuple[str, ...]
    kind: tuple[str, str, str]
    parent: str
    type_name: str
    list_name: str
    custom: bool = False

    @property
    def prefix(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


def of_facts(facts: Tree, group: str, version: str) -> list[Resource]:
    """The built-in resources of a group version, from the table of resources."""
    made = []
    kinds = types_by_kind()
    for key, fact in facts.items():
        its_group, its_version, plural, *sub = key.split("/")
        if (its_group, its_version) != (group, version):
            continue
        kind = (fact["kindGroup"], fact["kindVersion"], fact["kind"])
        parent = (facts.get(f"{group}/{version}/{plural}") or fact)["kind"]
        made.append(
            Resource(
                group, version, plural, "/".join(sub), fact["namespaced"], tuple(fact["actions"]), kind, parent,
                kinds.get(kind, ""), kinds.get((kind[0], kind[1], kind[2] + "List"), ""),
            )
        )  # fmt: skip
    return made


def of_custom(custom: Custom) -> list[Resource]:
    kind = (custom.group, custom.version, custom.kind)
    common = (custom.group, custom.version, custom.plural)
    actions = ("delete", "deletecollection", "get", "list", "patch", "post", "put")
    made = [Resource(*common, "", custom.namespaced, actions, kind, custom.kind, custom.name, custom.list_name, True)]
    for name in custom.subresources:
        scale = name == "scale"
        made.append(
            Resource(
                *common, name, custom.namespaced, ("get", "patch", "put"), ("autoscaling", "v1", "Scale") if scale else kind, custom.kind,
                "io.k8s.api.autoscaling.v1.Scale" if scale else custom.name, "", True,
            )
        )  # fmt: skip
    return made


def types_of(resources: Sequence[Resource]) -> set[str]:
    """The types that these resources' operations refer to."""
    actions = {action for resource in resources for action in resource.actions}
    found = {META + "APIResourceList"}
    if "delete" in actions or "deletecollection" in actions:
        found |= {STATUS, DELETE_OPTIONS}
    if "patch" in actions:
        found.add(PATCH)
    if "list" in actions:
        found.add(META + "WatchEvent")
    return found | {name for r in resources for name in (r.type_name, r.list_name) if name}


# ---- paths ---------------------------------------------------------------------------------------------------------


def of_resources(resources: Sequence[Resource], dialect: Dialect) -> dict[str, Tree]:
    """Path items by path."""
    made: dict[str, Tree] = {}
    for resource in resources:
        for path, operations, names in operations_of(resource, dialect):
            made[path] = item(path, operations, names, resource.parent, dialect)
    return dict(sorted(made.items()))


Operations = dict[str, tuple[Tree, tuple[str, ...]]]
"""By method: the operation and the names of its query parameters."""


def operations_of(resource: Resource, dialect: Dialect) -> Iterator[tuple[str, Operations, tuple[str, ...]]]:
    """Paths of a resource, with the operations on each and the names of the parameters in the path."""
    scope, scoped = ("/namespaces/{namespace}", ("namespace",)) if resource.namespaced else ("", ())
    collection = f"{resource.prefix}{scope}/{resource.plural}"
    if resource.subresource:
        path = f"{collection}/{{name}}/{resource.subresource}"
        yield path, at(resource, dialect, resource.actions), ("name", *scoped)
        if resource.subresource == "proxy":
            yield path + "/{path}", at(resource, dialect, resource.actions, suffix="WithPath"), ("name", *scoped, "path")
        return
    if resource.namespaced and "list" in resource.actions:
        path = f"{resource.prefix}/{resource.plural}"
        yield path, at(resource, dialect, ("list",), suffix="ForAllNamespaces", everywhere=True), ()
    upon = [action for action in ("list", "post", "deletecollection") if action in resource.actions]
    if upon:
        yield collection, at(resource, dialect, upon), scoped
    single = [action for action in ("get", "put", "delete", "patch") if action in resource.actions]
    if single:
        yield collection + "/{name}", at(resource, dialect, single), ("name", *scoped)


def at(resource: Resource, dialect: Dialect, actions: Sequence[str], *, suffix: str = "", everywhere: bool = False) -> Operations:
    made: Operations = {}
    for action in actions:
        if action == "connect":
            methods = ("get", "put", "post", "delete", "options", "head", "patch") if resource.subresource == "proxy" else ("get", "post")
            for method in methods:
                made[method] = operation(resource, dialect, action, method, suffix, everywhere), CONNECT.get(resource.kind[2], ())
        else:
            method = METHODS[action]
            names = LOG if resource.subresource == "log" else PARAMETERS.get(action, ())
            made[method] = operation(resource, dialect, action, method, suffix, everywhere), names
    return made


def item(path: str, operations: Operations, in_path: tuple[str, ...], kind: str, dialect: Dialect) -> Tree:
    """A path item: what all operations have in common is said once."""
    shared: set[str] = set.intersection(*(set(names) for _, names in operations.values()))
    made: Tree = {}
    for method, (tree, names) in operations.items():
        own = [query(name, dialect) for name in sorted(names) if name not in shared]
        made[method] = {**tree, "parameters": [*tree.get("parameters", ()), *own]} if own or "parameters" in tree else tree
    common = [*(path_parameter(name, kind, dialect) for name in in_path), *(query(name, dialect) for name in sorted(shared))]
    if not any(tree["x-kubernetes-action"] == "connect" for tree, _ in operations.values()):
        common.append(query("pretty", dialect))
    made["parameters"] = common
    return made


def query(name: str, dialect: Dialect) -> Tree:
    """A query parameter; in v2 they are defined once and referred to."""
    if not dialect.v3:
        return {"$ref": f"#/parameters/{name}"}
    return parameter(name, "query", *QUERY[name], dialect)


def parameter(name: str, place: str, kind: str, text: str, dialect: Dialect) -> Tree:
    made: Tree = {"name": name, "in": place, "description": text}
    if place == "path":
        made["required"] = True
    shape = {"type": kind, "uniqueItems": True}
    return {**made, "schema": shape} if dialect.v3 else {**shape, **made}


def path_parameter(name: str, kind: str, dialect: Dialect) -> Tree:
    texts = {"name": f"name of the {kind}", "namespace": "The namespace of the object.", "path": "path to the resource"}
    return parameter(name, "path", "string", texts[name], dialect)


def shared_parameters() -> Tree:
    """What v2's `#/parameters/` references mean."""
    return {name: parameter(name, "query", *fact, V2) for name, fact in QUERY.items()}


# ---- operations ----------------------------------------------------------------------------------------------------


def operation(resource: Resource, dialect: Dialect, action: str, method: str, suffix: str, everywhere: bool) -> Tree:
    """One operation, without its query parameters."""
    group, version, kind = resource.kind
    of = f"{resource.subresource} of " if resource.subresource else ""
    made: Tree = {
        "tags": [tag(resource.group, resource.version)],
        "description": SAYS[action].format(kind=resource.parent, of=of, method=method.upper()),
        "operationId": operation_id(resource, action, method, suffix, everywhere),
    }
    takes = body(resource, action)
    answers = answer(resource, action)
    made |= spoken_v3(takes, answers) if dialect.v3 else spoken_v2(takes, answers, dialect)
    made["x-kubernetes-action"] = action
    made["x-kubernetes-group-version-kind"] = {"group": group, "kind": kind, "version": version}
    return made


@dataclasses.dataclass(frozen=True, slots=True)
class Body:
    """What is sent or answered: the type ("" for plain text), the media types, and for answers the status codes."""

    type_name: str
    media: tuple[str, ...]
    codes: tuple[int, ...] = ()
    required: bool = True


TEXTS = {200: "OK", 201: "Created", 202: "Accepted", 401: "Unauthorized"}


def body(resource: Resource, action: str) -> Body | None:
    match action:
        case "post" | "put":
            return Body(resource.type_name, (JSON, YAML) if resource.custom else ("*/*",))
        case "patch":
            kinds = (*(p for p in PATCHES if not (resource.custom and "strategic" in p)), APPLY)
            return Body(PATCH, kinds)
        case "delete" | "deletecollection":
            return Body(DELETE_OPTIONS, ("*/*",), required=False)
        case _:
            return None


def answer(resource: Resource, action: str) -> Body:
    media = (JSON, YAML) if resource.custom else (JSON, YAML, PROTOBUF)
    match action:
        case "connect":
            return Body("", ("*/*",), (200,))
        case "get" if resource.subresource == "log":
            return Body("", ("text/plain", *media), (200,))
        case "list":
            return Body(resource.list_name, (*media, *(f"{kind};stream=watch" for kind in media if kind != YAML)), (200,))
        case "post":
            return Body(resource.type_name, media, (200, 201, 202))
        case "put" | "patch":
            return Body(resource.type_name, media, (200, 201))
        case "delete":
            return Body(resource.type_name if (resource.group, resource.plural) in DELETE_ANSWERS_OBJECT else STATUS, media, (200, 202))
        case "deletecollection":
            return Body(STATUS, media, (200,))
        case _:
            return Body(resource.type_name, media, (200,))


def shape(body: Body, prefix: str) -> Tree:
    return {"$ref": prefix + body.type_name} if body.type_name else {"type": "string"}


def spoken_v3(takes: Body | None, answers: Body) -> Tree:
    prefix = "#/components/schemas/"
    made: Tree = {}
    if takes is not None:
        made["requestBody"] = {"content": {kind: {"schema": shape(takes, prefix)} for kind in takes.media}}
        if takes.required:
            made["requestBody"]["required"] = True
    content = {kind: {"schema": shape(answers, prefix)} for kind in answers.media}
    made["responses"] = {str(code): {"description": TEXTS[code], "content": content} for code in answers.codes}
    made["responses"]["401"] = {"description": TEXTS[401]}
    return made


def spoken_v2(takes: Body | None, answers: Body, dialect: Dialect) -> Tree:
    made: Tree = {
        "consumes": list(takes.media) if takes else ["*/*"],
        "produces": list(answers.media),
        "schemes": ["https"],
        "responses": {str(code): {"description": TEXTS[code], "schema": shape(answers, dialect.prefix)} for code in answers.codes},
    }
    made["responses"]["401"] = {"description": TEXTS[401]}
    if takes is not None:
        sent: Tree = {"name": "body", "in": "body", "schema": shape(takes, dialect.prefix)}
        made["parameters"] = [{**sent, "required": True} if takes.required else sent]
    return made


def tag(group: str, version: str) -> str:
    name = "".join(words(group))
    return f"{name[:1].lower()}{name[1:]}_{version}"


def words(group: str) -> list[str]:
    """A group's name as words: `rbac.authorization.k8s.io` → Rbac, Authorization."""
    short = group.removesuffix(".k8s.io") or "core"
    return [word[:1].upper() + word[1:] for word in re.split(r"[.-]", short) if word]


def operation_id(resource: Resource, action: str, method: str, suffix: str, everywhere: bool) -> str:
    name = "".join(words(resource.group)) + resource.version[:1].upper() + resource.version[1:]
    sub = "".join(word[:1].upper() + word[1:] for word in resource.subresource.split("/") if word)
    middle = "Collection" if action == "deletecollection" else method.capitalize() if action == "connect" else ""
    scope = "Namespaced" if resource.namespaced and not everywhere else ""
    return f"{WORDS[action]}{name}{middle}{scope}{resource.parent}{sub}{suffix}"


@dataclasses.dataclass(frozen=True, slots=True)
class Discovery:
    """A discovery document: where it is, its type, and how its operation is called."""

    path: str
    type_name: str
    says: str
    operation_id: str
    tag: str
    media: tuple[str, ...] = (JSON, YAML, PROTOBUF)


ROOTS: dict[str, Discovery] = {
    "api": Discovery("/api/", META + "APIVersions", "get available API versions", "getCoreAPIVersions", "core"),
    "apis": Discovery("/apis/", META + "APIGroupList", "get available API versions", "getAPIVersions", "apis"),
    "version": Discovery(
        "/version/", "io.k8s.apimachinery.pkg.version.Info", "get the version information for this server", "getCodeVersion", "version", (JSON,)
    ),
}


def discovery_at(place: str) -> Discovery:
    """The discovery document of a place as it is named below `/openapi/v3/`: api, apis, version, apis/GROUP, a group version."""
    if place in ROOTS:
        return ROOTS[place]
    parts = place.split("/")
    group = parts[1] if parts[0] == "apis" else ""
    name = "".join(words(group))
    if parts[0] == "apis" and len(parts) == 2:
        return Discovery(f"/{place}/", META + "APIGroup", "get information of a group", f"get{name}APIGroup", tag(group, "")[:-1])
    version = parts[-1]
    operation_id = f"get{name}{version[:1].upper()}{version[1:]}APIResources"
    return Discovery(f"/{place}/", META + "APIResourceList", "get available resources", operation_id, tag(group, version))


def of_discovery(document: Discovery, dialect: Dialect) -> dict[str, Tree]:
    """The path item of a discovery document, by its path."""
    answers = Body(document.type_name, document.media, (200,))
    spoken = spoken_v3(None, answers) if dialect.v3 else spoken_v2(None, answers, dialect)
    made = {"tags": [document.tag], "description": document.says, "operationId": document.operation_id, **spoken}
    return {document.path: {"get": made}}
