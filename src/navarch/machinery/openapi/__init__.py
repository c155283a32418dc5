"""The OpenAPI documents: what the API serves, described for clients (kubectl's explain and validation, client generators).

Reading order: `prose` (types and fields in words), `schemas` (types as schemas, for v2, v3 and custom resources), `paths` (requests as
operations), `documents` (whole documents with their ETags), `gnostic` (the v2 document as protobuf).

Upstream counterparts: kube-openapi and apiextensions' openapi controller.
"""
