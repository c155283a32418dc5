"""What the kinds that make pods from a template share: selectors that match it, templates that run for ever, an empty status.

Upstream counterparts: pkg/apis/apps/validation and pkg/registry/apps/*/strategy.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.kinds import checks, templates
from navarch.apiserver.kinds.checks import Found
from navarch.machinery import codec, field, selectors

EMPTY_SELECTOR = "empty selector is invalid for {}"
LABELS_MISMATCH = "`selector` does not match template `labels`"


def template_labels(template: core_v1.PodTemplateSpec | None) -> dict[str, str] | None:
    return (template.metadata.labels if template is not None and template.metadata else None) or None


def check_selected(
    found: Found, selector: meta_v1.LabelSelector | None, template: core_v1.PodTemplateSpec | None, kind: str, *, required: bool = True
) -> None:
    """The selector is there, says something, and matches the template."""
    if selector is None:
        if required:
            found.append(field.required("spec.selector"))
    else:
        checks.selector(found, "spec.selector", selector)
        if checks.empty_selector(selector):
            found.append(field.invalid("spec.selector", codec.to_tree(selector), EMPTY_SELECTOR.format(kind)))
    try:
        compiled = selectors.from_object(selector)
    except ValueError:
        found.append(field.invalid("spec.selector", codec.to_tree(selector) if selector else None, "invalid label selector"))
        return
    if (selector is not None and not compiled.empty and not compiled.matches(template_labels(template))) or selector is None:
        found.append(field.invalid("spec.template.metadata.labels", template_labels(template), LABELS_MISMATCH))


def check_always(found: Found, template: core_v1.PodTemplateSpec, kind: str) -> None:
    """A template whose pods run for ever."""
    templates.template(found, "spec.template", template)
    spec = template.spec
    assert spec is not None
    if spec.restartPolicy != "Always":
        found.append(field.not_supported("spec.template.spec.restartPolicy", spec.restartPolicy, ("Always",)))
    if spec.activeDeadlineSeconds is not None:
        why = f"activeDeadlineSeconds in {kind} is not Supported"
        found.append(field.forbidden("spec.template.spec.activeDeadlineSeconds", why))


def blank_status(status: Callable[[], Any]) -> Callable[[Any, float], None]:
    """A hook that gives a new object an empty status."""

    def prepare(obj: Any, now: float) -> None:
        obj.status = status()

    return prepare


def keep_labels(new: Any, old: Any, now: float) -> None:
    """A status update leaves the labels alone."""
    new.metadata.labels = old.metadata.labels
