"""ValidatingAdmissionPolicy and MutatingAdmissionPolicy: `source` knows them, `parameters` finds what they refer to, `validating` and
`mutating` go by them."""
