"""The rules of ValidatingAdmissionPolicies, MutatingAdmissionPolicies and their bindings: a part of `admissionregistration`.

Expressions are compiled as they will be for requests: what does not compile is refused when it is written, at its field and in the words
of CEL. Match conditions that did not change are not looked at again.

Upstream counterpart: pkg/apis/admissionregistration/validation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.machinery import codec, field, names
from navarch.machinery.cel import admission
from navarch.machinery.cel.admission import Compiled, Compiler

MOST_CONDITIONS = 64
WEIGHT = 12
"""Of kinds whose expressions are compiled when they are checked: 300 µs for some 40 bytes."""
_MOST_ANNOTATIONS, _LONGEST_ANNOTATION = 20, 5 * 1024
_FAILURE, _MATCH, _REINVOCATION = ("Fail", "Ignore"), ("Equivalent", "Exact"), ("IfNeeded", "Never")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_MUTATED = ("*", "CONNECT", "CREATE", "UPDATE")
_ACTIONS = ("Audit", "Deny", "Warn")
_PATCHES = ("ApplyConfiguration", "JSONPatch")
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_RESERVED = frozenset(
    {
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
        "namespace", "return", "var", "void", "while",
    }
)  # fmt: skip
_ONLY_ITEM = "validations or auditAnnotations must contain at least one item"
AnyPolicy = admission_v1.ValidatingAdmissionPolicy | admission_v1.MutatingAdmissionPolicy
AnySpec = admission_v1.ValidatingAdmissionPolicySpec | admission_v1.MutatingAdmissionPolicySpec
AnyBinding = admission_v1.ValidatingAdmissionPolicyBinding | admission_v1.MutatingAdmissionPolicyBinding


# ---- policies ------------------------------------------------------------------------------------------------------


def validate_validating(obj: admission_v1.ValidatingAdmissionPolicy) -> Found:
    return _validating(obj, conditions=True)


def validate_validating_update(new: admission_v1.ValidatingAdmissionPolicy, old: admission_v1.ValidatingAdmissionPolicy) -> Found:
    return _validating(new, conditions=_conditions_changed(new, old))


def validate_mutating(obj: admission_v1.MutatingAdmissionPolicy) -> Found:
    return _mutating(obj, conditions=True)


def validate_mutating_update(new: admission_v1.MutatingAdmissionPolicy, old: admission_v1.MutatingAdmissionPolicy) -> Found:
    return _mutating(new, conditions=_conditions_changed(new, old))


def validate_status(new: admission_v1.ValidatingAdmissionPolicy, old: admission_v1.ValidatingAdmissionPolicy) -> Found:
    found: Found = []
    checking = new.status.typeChecking if new.status else None
    for i, warning in enumerate((checking.expressionWarnings if checking else None) or ()):
        at = f"status.typeChecking.expressionWarnings[{i}]"
        if not warning.warning:
            found.append(field.required(f"{at}.warning"))
        if not (warning.fieldRef or "").strip():
            found.append(field.required(f"{at}.fieldRef"))
    return found


def _conditions_changed(new: AnyPolicy, old: AnyPolicy) -> bool:
    one, other = new.spec, old.spec
    assert one is not None and other is not None
    return one.paramKind != other.paramKind or one.matchConditions != other.matchConditions


def _validating(obj: admission_v1.ValidatingAdmissionPolicy, *, conditions: bool) -> Found:
    spec = obj.spec or admission_v1.ValidatingAdmissionPolicySpec()
    found: Found = []
    _begin(found, spec)
    if conditions:
        match_conditions(found, "spec.matchConditions", spec.matchConditions, params=spec.paramKind is not None)
    compiler = Compiler(params=spec.paramKind is not None, composed=bool(spec.variables))
    _variables(found, compiler, spec.variables)
    if not spec.validations and not spec.auditAnnotations:
        found += (field.required("spec.validations", _ONLY_ITEM), field.required("spec.auditAnnotations", _ONLY_ITEM))
        return found
    for i, validation in enumerate(spec.validations or ()):
        _validation(found, f"spec.validations[{i}]", validation, compiler)
    _annotations(found, (obj.metadata.name if obj.metadata else None) or "", spec.auditAnnotations or (), compiler)
    return found


def _mutating(obj: admission_v1.MutatingAdmissionPolicy, *, conditions: bool) -> Found:
    spec = obj.spec or admission_v1.MutatingAdmissionPolicySpec()
    found: Found = []
    _begin(found, spec)
    _mutated_operations(found, "spec.matchConstraints", spec.matchConstraints)
    if conditions:
        match_conditions(found, "spec.matchConditions", spec.matchConditions, params=spec.paramKind is not None)
    compiler = Compiler(params=spec.paramKind is not None)
    _variables(found, compiler, spec.variables)
    if not spec.mutations:
        found.append(field.required("spec.mutations", "mutations must contain at least one item"))
    for i, mutation in enumerate(spec.mutations or ()):
        _mutation(found, f"spec.mutations[{i}]", mutation, compiler)
    checks.one_of(found, "spec.reinvocationPolicy", spec.reinvocationPolicy, _REINVOCATION)
    return found


def _begin(found: Found, spec: AnySpec) -> None:
    checks.one_of(found, "spec.failurePolicy", spec.failurePolicy, _FAILURE)
    if spec.paramKind is not None:
        _param_kind(found, "spec.paramKind", spec.paramKind)
    if spec.matchConstraints is None:
        found.append(field.required("spec.matchConstraints"))
        return
    _match_resources(found, "spec.matchConstraints", spec.matchConstraints)
    if not spec.matchConstraints.resourceRules:
        found.append(field.required("spec.matchConstraints.resourceRules"))


def _param_kind(found: Found, at: str, kind: admission_v1.ParamKind) -> None:
    version = kind.apiVersion or ""
    if not version:
        found.append(field.required(f"{at}.apiVersion"))
    elif version.count("/") > 1:
        found.append(field.invalid(f"{at}.apiVersion", version, f"unexpected GroupVersion string: {version}"))
    else:
        group, _, number = version.rpartition("/")
        if group and (problems := names.dns_subdomain(group)):
            found.append(field.invalid(f"{at}.apiVersion", group, ",".join(problems)))
        if not number:
            found.append(field.invalid(f"{at}.apiVersion", version, "version must be specified"))
        elif problems := names.dns_label_1035(number):
            found.append(field.invalid(f"{at}.apiVersion", number, ",".join(problems)))
    if not kind.kind:
        found.append(field.required(f"{at}.kind"))
    elif problems := names.dns_label_1035(kind.kind.lower()):
        found.append(field.invalid(f"{at}.kind", kind.kind, "may have mixed case, but should otherwise match: " + ",".join(problems)))


# ---- what is matched -----------------------------------------------------------------------------------------------


def _match_resources(found: Found, at: str, match: admission_v1.MatchResources | None) -> None:
    if match is None:
        return
    checks.one_of(found, f"{at}.matchPolicy", match.matchPolicy, _MATCH)
    for name in ("namespaceSelector", "objectSelector"):
        held = getattr(match, name)
        if held is None:
            found.append(field.required(f"{at}.{name}"))
        else:
            checks.selector(found, f"{at}.{name}", held)
    for name in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(getattr(match, name) or ()):
            _named_rule(found, f"{at}.{name}[{i}]", rule)


def _mutated_operations(found: Found, at: str, match: admission_v1.MatchResources | None) -> None:
    """Deletions cannot be mutated."""
    for rule in (match.resourceRules if match else None) or ():
        for operation in rule.operations or ():
            if operation not in _MUTATED:
                found.append(field.not_supported(f"{at}.resourceRules.operations", operation, _MUTATED))


def _named_rule(found: Found, at: str, rule: admission_v1.NamedRuleWithOperations) -> None:
    seen: set[str] = set()
    for i, name in enumerate(rule.resourceNames or ()):
        found += (field.invalid(f"{at}.resourceNames[{i}]", name, p) for p in names.path_segment(name))
        if name in seen:
            found.append(field.duplicate(f"{at}.resourceNames[{i}]", name))
        seen.add(name)
    rule_with_operations(found, at, rule)


def rule_with_operations(found: Found, at: str, rule: admission_v1.NamedRuleWithOperations | admission_v1.RuleWithOperations) -> None:
    """Which operations on which resources a webhook or policy is asked about."""
    operations = rule.operations or []
    if not operations:
        found.append(field.required(f"{at}.operations"))
    elif len(operations) > 1 and "*" in operations:
        found.append(field.invalid(f"{at}.operations", operations, "if '*' is present, must not specify other operations"))
    for i, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            found.append(field.not_supported(f"{at}.operations[{i}]", operation, _OPERATIONS))
    for part, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = getattr(rule, part)
        if not values:
            found.append(field.required(f"{at}.{part}"))
        elif len(values) > 1 and "*" in values:
            found.append(field.invalid(f"{at}.{part}", values, f"if '*' is present, must not specify other {what}"))
    found += (field.required(f"{at}.apiVersions[{i}]") for i, version in enumerate(rule.apiVersions or ()) if not version)
    _resources(found, f"{at}.resources", rule.resources or [])
    checks.one_of(found, f"{at}.scope", rule.scope, ("*", "Cluster", "Namespaced"), required=False)


def _resources(found: Found, at: str, resources: Sequence[str]) -> None:
    if not resources:
        found.append(field.required(at))
    all_below: set[str] = set()
    all_above: set[str] = set()
    plain = False
    for i, held in enumerate(resources):
        if not held:
            found.append(field.required(f"{at}[{i}]"))
            continue
        resource, slash, subresource = held.partition("/")
        if not slash:
            plain = held != "*"
            continue
        if resource in all_below:
            found.append(field.invalid(f"{at}[{i}]", held, f"if '{resource}/*' is present, must not specify {held}"))
        if subresource in all_above:
            found.append(field.invalid(f"{at}[{i}]", held, f"if '*/{subresource}' is present, must not specify {held}"))
        if subresource == "*":
            all_below.add(resource)
        if resource == "*":
            all_above.add(subresource)
    if len(resources) > 1 and "*/*" in resources:
        found.append(field.invalid(at, resources, "if '*/*' is present, must not specify other resources"))
    if "*" in resources and plain:
        found.append(field.invalid(at, resources, "if '*' is present, must not specify other resources without subresources"))


# ---- expressions ---------------------------------------------------------------------------------------------------


def match_conditions(found: Found, at: str, conditions: Sequence[admission_v1.MatchCondition] | None, *, params: bool = False) -> None:
    """The match conditions of a policy or webhook. `params`: they may speak of them."""
    if len(conditions or ()) > MOST_CONDITIONS:
        found.append(field.too_many(at, len(conditions or ()), MOST_CONDITIONS))
    compiled = Compiler(params=True, composed=False).condition if params else admission.condition
    seen: set[str] = set()
    for i, condition in enumerate((conditions or ())[:MOST_CONDITIONS]):
        text, name = (condition.expression or "").strip(), condition.name or ""
        if not text:
            found.append(field.required(f"{at}[{i}].expression"))
        else:
            _compiles(found, f"{at}[{i}].expression", compiled(text))
        if not name:
            found.append(field.required(f"{at}[{i}].name"))
            continue
        checks.qualified(found, f"{at}[{i}].name", name)
        if name in seen:
            found.append(field.duplicate(f"{at}[{i}].name", name))
        seen.add(name)


def _compiles(found: Found, at: str, compiled: Compiled, shown: str | None = None) -> None:
    if compiled.error:
        found.append(field.invalid(at, compiled.text if shown is None else shown, compiled.error))


def _variables(found: Found, compiler: Compiler, variables: Sequence[admission_v1.Variable] | None) -> None:
    for i, variable in enumerate(variables or ()):
        at, name, text = f"spec.variables[{i}]", variable.name or "", variable.expression or ""
        if not name.strip():
            found.append(field.required(f"{at}.name", "name is not specified"))
        elif not _IDENTIFIER.fullmatch(name) or name in _RESERVED:
            found.append(field.invalid(f"{at}.name", name, "must be a valid CEL identifier"))
        if not text.strip():
            found.append(field.required(f"{at}.expression", "expression is not specified"))
        else:
            _compiles(found, f"{at}.expression", compiler.variable(name, text))


def _validation(found: Found, at: str, validation: admission_v1.Validation, compiler: Compiler) -> None:
    text, message, told = validation.expression or "", validation.message or "", validation.messageExpression or ""
    if not text.strip():
        found.append(field.required(f"{at}.expression", "expression is not specified"))
    else:
        _compiles(found, f"{at}.expression", compiler.condition(text))
    if told and not told.strip():
        found.append(field.invalid(f"{at}.messageExpression", told, "must be non-empty if specified"))
    elif told:
        _compiles(found, f"{at}.messageExpression", compiler.message(told))
    if message and not message.strip():
        found.append(field.invalid(f"{at}.message", message, "must be non-empty if specified"))
    elif "\n" in message.strip() or "\r" in message.strip():
        found.append(field.invalid(f"{at}.message", message, "must not contain line breaks"))
    checks.one_of(found, f"{at}.reason", validation.reason, _REASONS, required=False)


def _annotations(found: Found, policy: str, annotations: Sequence[admission_v1.AuditAnnotation], compiler: Compiler) -> None:
    where = "spec.auditAnnotations"
    if len(annotations) > _MOST_ANNOTATIONS:
        why = f"must not have more than {_MOST_ANNOTATIONS} auditAnnotations"
        found.append(field.invalid(where, [codec.to_tree(a) for a in annotations], why))
    seen: set[str] = set()
    for i, annotation in enumerate(annotations):
        at, key, text = f"{where}[{i}]", annotation.key or "", (annotation.valueExpression or "").strip()
        if policy:
            checks.qualified(found, f"{at}.key", f"{policy}/{key}")
        else:
            found.append(field.invalid(f"{at}.key", key, "requires metadata.name be non-empty"))
        if not text:
            found.append(field.required(f"{at}.valueExpression", "valueExpression is not specified"))
        elif len(text.encode()) > _LONGEST_ANNOTATION:
            found.append(field.required(f"{at}.valueExpression", f"must not exceed {_LONGEST_ANNOTATION} bytes in length"))
        else:
            _compiles(found, f"{at}.valueExpression", compiler.annotation(text, key), annotation.valueExpression)
        if key in seen:
            found.append(field.duplicate(f"{at}.key", key))
        seen.add(key)


def _mutation(found: Found, at: str, mutation: admission_v1.Mutation, compiler: Compiler) -> None:
    kind = mutation.patchType or ""
    if kind not in _PATCHES:
        checks.one_of(found, f"{at}.patchType", kind, _PATCHES)
        return
    held: dict[str, tuple[str, Any]] = {
        "JSONPatch": ("jsonPatch", mutation.jsonPatch),
        "ApplyConfiguration": ("applyConfiguration", mutation.applyConfiguration),
    }
    name, patch = held.pop(kind)
    ((other, also),) = held.values()
    if patch is None:
        found.append(field.required(f"{at}.{name}", f"must be specified when patchType is {kind}"))
    elif not (text := (patch.expression or "").strip()):
        found.append(field.required(f"{at}.{name}.expression"))
    else:
        compiled = compiler.json_patch(text) if kind == "JSONPatch" else compiler.apply_configuration(text)
        _compiles(found, f"{at}.{name}.expression", compiled)
    if also is not None:
        found.append(field.invalid(f"{at}.{other}", f"{{{other}}}", f"must not be specified when patchType is {kind}"))


# ---- bindings ------------------------------------------------------------------------------------------------------


def validate_validating_binding(obj: admission_v1.ValidatingAdmissionPolicyBinding) -> Found:
    found = _binding(obj)
    actions = (obj.spec.validationActions if obj.spec else None) or []
    at = "spec.validationActions"
    seen: set[str] = set()
    for i, action in enumerate(actions):
        checks.one_of(found, f"{at}[{i}]", action or " ", _ACTIONS)
        if action in seen:
            found.append(field.duplicate(f"{at}[{i}]", action))
        seen.add(action)
    if {"Deny", "Warn"} <= seen:
        why = "repeating the same validation failure information in the API response and headers serves no purpose"
        found.append(field.invalid(at, actions, f"must not contain both Deny and Warn ({why})"))
    if not seen:
        found.append(field.required(at, "at least one validation action is required"))
    return found


def validate_mutating_binding(obj: admission_v1.MutatingAdmissionPolicyBinding) -> Found:
    found = _binding(obj)
    _mutated_operations(found, "spec.matchResources", obj.spec.matchResources if obj.spec else None)
    return found


def _binding(obj: AnyBinding) -> Found:
    found: Found = []
    spec = obj.spec
    name = (spec.policyName if spec else None) or ""
    if not name:
        found.append(field.required("spec.policyName"))
    else:
        checks.subdomain(found, "spec.policyName", name)
    if spec is not None:
        _param_ref(found, "spec.paramRef", spec.paramRef)
        _match_resources(found, "spec.matchResources", spec.matchResources)
    return found


def _param_ref(found: Found, at: str, ref: admission_v1.ParamRef | None) -> None:
    if ref is None:
        return
    exclusive = "name and selector are mutually exclusive"
    if ref.name:
        found += (field.invalid(f"{at}.name", ref.name, p) for p in names.path_segment(ref.name))
        if ref.selector is not None:
            found.append(field.forbidden(f"{at}.name", exclusive))
    if ref.selector is not None:
        checks.selector(found, f"{at}.selector", ref.selector)
        if ref.name:
            found.append(field.forbidden(f"{at}.selector", exclusive))
    if not ref.name and ref.selector is None:
        found.append(field.required(at, "one of name or selector must be specified"))
    checks.one_of(found, f"{at}.parameterNotFoundAction", ref.parameterNotFoundAction, ("Deny", "Allow"))
