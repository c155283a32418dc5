"""ValidatingAdmissionPolicy and MutatingAdmissionPolicy: `source` knows them, `parameters` finds what they refer to, `invoking` what is to be
evaluated for a request, `validating` and `mutating` go by them; `permissions` says who may write them."""
