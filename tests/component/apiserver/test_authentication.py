"""Who a request comes from: certificates of all kinds, front proxies, tokens good and bad, and who may be taken for whom."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import pathlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.apiserver import impersonation
from navarch.apiserver.authn import tokens
from navarch.apiserver.authn.users import User
from navarch.lib import pki, tls
from navarch.testing import server

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOW = datetime.datetime.now(datetime.UTC)
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
STATIC = "0123456789abcdef"


class Setting:
    """A server that knows a front proxy's authority beside its own, and one static token."""

    def __init__(self, api: server.ApiServer, folder: pathlib.Path, proxy_ca: pki.Pair) -> None:
        self.api, self.folder, self.proxy_ca = api, folder, proxy_ca
        self.ca = pki.Pair((pathlib.Path(api.parts.options.client_ca_file)).read_bytes(), (folder / "api/pki/ca.key").read_bytes())

    @contextlib.asynccontextmanager
    async def session(self, pair: pki.Pair | None = None, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> AsyncIterator[aiohttp.ClientSession]:
        context = ssl.create_default_context(cadata=self.ca.certificate.decode())
        context.maximum_version = most
        if pair is not None:
            pair.write(self.folder / "client.crt", self.folder / "client.key")
            context.load_cert_chain(self.folder / "client.crt", self.folder / "client.key")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as made:
            yield made

    async def who(self, session: aiohttp.ClientSession, **headers: str) -> tuple[int, dict[str, Any]]:
        """The status, and the user the server takes the request for (or the Status it answers)."""
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        async with session.post(self.api.url + REVIEW, json={}, headers=sent) as answer:
            body = await answer.json()
            return answer.status, body["status"]["userInfo"] if answer.status == 201 else body


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def setting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setting]:
    folder = tmp_path_factory.mktemp("authentication")
    proxy_ca = pki.authority("kubernetes", NOW)  # of the same name as the clients' authority
    proxy_ca.write(folder / "proxy-ca.crt", folder / "proxy-ca.key")
    (folder / "tokens.csv").write_text(f'{STATIC},robot,7,"a,b"\n')
    authority, known = str(folder / "proxy-ca.crt"), str(folder / "tokens.csv")
    options: dict[str, Any] = {"requestheader_client_ca_file": authority, "token_auth_file": known, "service_account_max_token_expiration": 7200.0}
    async with server.running(folder / "api", **options) as api:
        yield Setting(api, folder, proxy_ca)


def certificate(
    ca: pki.Pair,
    *attributes: tuple[x509.ObjectIdentifier, str],
    until: datetime.timedelta = pki.YEAR,
    server_only: bool = False,
    issuer_key: bool = True,
) -> pki.Pair:
    """A certificate of any subject, good until then; `issuer_key`: it names the key that signed it, not the authority alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_pem_x509_certificate(ca.certificate)
    signer = serialization.load_pem_private_key(ca.key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    usage = ExtendedKeyUsageOID.SERVER_AUTH if server_only else ExtendedKeyUsageOID.CLIENT_AUTH
    built = x509.CertificateBuilder(
        issuer.subject, x509.Name([x509.NameAttribute(o, v) for o, v in attributes]), key.public_key(), x509.random_serial_number(),
        NOW - 2 * pki.YEAR, NOW + until,
    ).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)  # fmt: skip
    if issuer_key:
        built = built.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    pem = built.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pki.Pair(pem, text)


CN, ORG, UID = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")
BOB = ((ORG, "system:masters"), (CN, "bob"))


def unverifiable(setting: Setting) -> dict[str, pki.Pair]:
    return {
        "of a stranger's authority": certificate(pki.authority("other", NOW), *BOB),
        "of a stranger's authority of our name": certificate(pki.authority("kubernetes", NOW), *BOB),
        "of one that does not say by which key": certificate(pki.authority("kubernetes", NOW), *BOB, issuer_key=False),
        "expired": certificate(setting.ca, *BOB, until=-pki.BACKDATED),
        "for servers only": certificate(setting.ca, *BOB, server_only=True),
        "of the front proxy's authority": certificate(setting.proxy_ca, *BOB),
        "with two uids": certificate(setting.ca, *BOB, (UID, "1"), (UID, "2")),
    }


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_certificate_that_does_not_verify_is_nobodys_and_no_reason_to_hang_up(setting: Setting, version: ssl.TLSVersion) -> None:
    for what, pair in unverifiable(setting).items():
        async with setting.session(pair, version) as session:
            status, answer = await setting.who(session)
            assert (status, answer.get("reason"), answer.get("message")) == (401, "Unauthorized", "Unauthorized"), what
            assert (await setting.who(session, X_Remote_User="admin"))[0] == 401, what
            status, answer = await setting.who(session, Authorization=f"Bearer {STATIC}")
            assert (status, answer.get("username")) == (201, "robot"), what


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_what_a_certificate_says(setting: Setting, version: ssl.TLSVersion) -> None:
    pair = certificate(setting.ca, (CN, "first"), (ORG, "a"), (ORG, "b"), (CN, "last"), (UID, "u-1"))
    async with setting.session(pair, version) as session:
        status, user = await setting.who(session, Authorization="Bearer nonsense")
    digest = x509.load_pem_x509_certificate(pair.certificate).fingerprint(hashes.SHA256()).hex()
    assert (status, user["username"], user["groups"], user["uid"]) == (201, "last", ["a", "b", "system:authenticated"], "u-1")
    assert user["extra"] == {"authentication.kubernetes.io/credential-id": [f"X509SHA256={digest}"]}
    async with setting.session(certificate(setting.ca, (ORG, "system:masters")), version) as session:
        assert (await setting.who(session))[1]["reason"] == "Forbidden"


async def test_a_certificate_expires_while_its_connection_is_open(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    async with setting.session(certificate(setting.ca, *BOB, until=datetime.timedelta(hours=1))) as session:
        assert (await setting.who(session))[0] == 201
        later = NOW.timestamp() + 3601
        monkeypatch.setattr("navarch.apiserver.authn.authenticator.time.time", lambda: later)
        assert (await setting.who(session))[0] == 401


async def test_a_front_proxy_names_the_user(setting: Setting) -> None:
    async with setting.session(certificate(setting.proxy_ca, (CN, "front-proxy-client"))) as session:
        headers = {
            "X-Remote-User": "jane",
            "X-Remote-Group": "dev",
            "X-Remote-Uid": "9",
            "X-Remote-Extra-Foo%2Fbar": "v",
            "X-Remote-Extra-Scope": "s",
        }
        status, user = await setting.who(session, **headers)
        assert (status, user) == (
            201,
            {"username": "jane", "uid": "9", "groups": ["dev", "system:authenticated"], "extra": {"foo/bar": ["v"], "scope": ["s"]}},
        )
        assert (await setting.who(session))[0] == 401
    for other in (certificate(setting.ca, (CN, "front-proxy-client")), certificate(setting.ca, (CN, "kubernetes"))):
        async with setting.session(other) as session:
            assert (await setting.who(session, X_Remote_User="admin", X_Remote_Group="system:masters"))[1].get("username") != "admin"
    async with setting.session() as session:
        assert (await setting.who(session, X_Remote_User="admin"))[0] == 403


async def test_weak_ciphers_are_off(setting: Setting) -> None:
    names = {
        c["name"] for c in tls.server_context(setting.api.parts.options.tls_cert_file, setting.api.parts.options.tls_private_key_file).get_ciphers()
    }
    assert not [n for n in names if not n.startswith("TLS_") and (not n.startswith("ECDHE-") or ("GCM" not in n and "POLY1305" not in n))]


@pytest.mark.parametrize(
    ("header", "status", "name"),
    [
        (f"Bearer {STATIC}", 201, "robot"), (f"bearer {STATIC}", 201, "robot"), (f"Bearer {STATIC} junk", 201, "robot"),
        (f"Bearer {STATIC}x", 401, ""), (f"Bearer x {STATIC}", 401, ""), (f"Bearer  {STATIC}", 403, ""), ("Bearer", 403, ""),
        (f"Basic {STATIC}", 403, ""), ("", 403, ""), (f"Bearer\t{STATIC}", 403, ""),
    ],
)  # fmt: skip
async def test_authorization_headers(setting: Setting, header: str, status: int, name: str) -> None:
    async with setting.session() as session, session.post(setting.api.url + REVIEW, json={}, headers={"Authorization": header}) as answer:
        body = await answer.json()
        assert (answer.status, body["status"]["userInfo"]["username"] if status == 201 else "") == (status, name)
        space = "the provided Authorization header contains extra space before the bearer token, and is ignored"
        assert answer.headers.getall("Warning", []) == ([f'299 - "{space}"'] if header == f"Bearer  {STATIC}" else [])


async def test_tokens_of_sockets(setting: Setting) -> None:
    token = "base64url.bearer.authorization.k8s.io." + base64.urlsafe_b64encode(STATIC.encode()).decode().rstrip("=")
    async with setting.session() as session:
        assert (await setting.who(session, Sec_WebSocket_Protocol=f"{token}, v5.channel.k8s.io"))[1]["username"] == "robot"
        for bad in (token, f"{token}x, v5", f"{token}, {token}, v5", "base64url.bearer.authorization.k8s.io.%%, v5"):
            assert (await setting.who(session, Sec_WebSocket_Protocol=bad))[0] == 401


# ---- service accounts' tokens ---------------------------------------------------------------------------------------------------


def _verifier() -> tuple[tokens.TokenIssuer, tokens.TokenVerifier]:
    issuer = tokens.TokenIssuer("https://us", pki.rsa_key(), ("us",))
    return issuer, tokens.TokenVerifier(("https://us",), issuer.published, ("us",), lambda *_: True)


ISSUER, VERIFIER = _verifier()
GOOD = ISSUER.issue("ns", "robot", "u", (), 600)[0]


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
)
HEADERS = st.fixed_dictionaries(
    {"alg": st.sampled_from(["none", "None", "HS256", "RS256", "RS512", "PS256", "ES256", "ES512", "EdDSA", ""]) | JSON},
    optional={"kid": st.just(tokens.key_id(ISSUER.published[0])) | JSON, "typ": JSON, "crit": JSON, "b64": JSON, "jwk": JSON},
)


@settings(max_examples=300)
@given(
    st.text() | st.builds(lambda h, p, s: f"{_part(h)}.{_part(p)}.{s}", HEADERS | JSON, JSON, st.just(GOOD.rpartition(".")[2]) | st.text(max_size=9))
)
async def test_what_is_no_token_is_nobodys(text: str) -> None:
    assert VERIFIER.verify(text, ("us",)) is None


async def test_a_good_token_is_somebodys_and_its_header_does_not_choose_how_it_is_checked() -> None:
    found = VERIFIER.verify(GOOD, ("us", "other"))
    assert found is not None
    assert (found[0].name, found[1]) == ("system:serviceaccount:ns:robot", ("us",))
    head, body, _ = GOOD.split(".")
    kid = jwt.get_unverified_header(GOOD)["kid"]
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    secret = ISSUER.published[0]
    import hashlib
    import hmac

    forged_head = _part({"alg": "HS256", "kid": kid, "typ": "JWT"})
    mac = hmac.new(secret, f"{forged_head}.{body}".encode(), hashlib.sha256).digest()
    forged = [
        f"{forged_head}.{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}",
        f"{_part({'alg': 'none', 'kid': kid})}.{body}.",
        f"{head}.{_part({**claims, 'sub': 'system:serviceaccount:kube-system:admin'})}.{GOOD.rpartition('.')[2]}",
        f"{'[' * 60_000}.{body}.x",
        f"{base64.urlsafe_b64encode(b'[' * 40_000).decode()}.{body}.x",
    ]
    assert [VERIFIER.verify(f, ("us",)) for f in forged] == [None] * len(forged)


@pytest.mark.parametrize(
    "wrong",
    [
        {"exp": "soon"}, {"exp": None}, {"aud": 5}, {"aud": {}}, {"kubernetes.io": None}, {"kubernetes.io": {"namespace": 1}},
        {"kubernetes.io": {"namespace": "n", "serviceaccount": []}}, {"iss": ["https://us"]}, {"iss": "https://them"}, {"exp": 1}, {"nbf": 2**40},
        {"kubernetes.io": {"namespace": "n", "serviceaccount": {"name": "n", "uid": "u"}, "pod": "p"}}, {"aud": ["them"]}, {"sub": 4},
    ],
)  # fmt: skip
async def test_claims_of_our_key_that_make_no_sense(wrong: dict[str, Any]) -> None:
    claims = {**jwt.decode(GOOD, options={"verify_signature": False}), **wrong}
    text = (
        jwt.encode({k: v for k, v in claims.items() if v is not None or k != "exp"}, ISSUER._key, "RS256", headers={"kid": ISSUER._kid})
        if (not isinstance(wrong.get("iss"), list) and not isinstance(wrong.get("sub"), int))
        else _signed(claims)
    )
    assert VERIFIER.verify(text, ("us",)) is None


def _signed(claims: dict[str, Any]) -> str:
    return jwt.api_jws.encode(json.dumps(claims).encode(), ISSUER._key, "RS256", headers={"kid": ISSUER._kid})


async def test_keys_change_while_old_tokens_live(tmp_path: pathlib.Path) -> None:
    """The old key is given as one that verifies, in whatever form; the new one signs, and may be of another kind."""
    old, new = pki.rsa_key(), pki.authority("x", NOW).key
    old_token = tokens.TokenIssuer("https://us", old, ("us",)).issue("n", "a", "u", (), 600)[0]
    other = pki.authority("y", NOW)
    (tmp_path / "keys.pem").write_bytes(pki.public_key(old) + other.certificate + other.key)
    issuer = tokens.TokenIssuer("https://us", new, ("us",), tokens.public_keys(str(tmp_path / "keys.pem")))
    verifier = tokens.TokenVerifier(("https://us",), issuer.published, ("us",), lambda *_: True)
    for text in (
        old_token,
        issuer.issue("n", "a", "u", (), 600)[0],
        tokens.TokenIssuer("https://us", other.key, ()).issue("n", "a", "u", ("us",), 600)[0],
    ):
        assert verifier.verify(text, ("us",)) is not None
    assert [k["alg"] for k in issuer.key_set()["keys"]] == ["RS256", "ES256", "ES256"]
    for key in issuer.key_set()["keys"]:
        assert jwt.PyJWK(key).key_id in {tokens.key_id(p) for p in issuer.published}
    (tmp_path / "none.pem").write_text("nothing\n")
    with pytest.raises(ValueError, match="does not contain any valid RSA or ECDSA public keys"):
        tokens.public_keys(str(tmp_path / "none.pem"))


async def test_a_token_ends_with_what_it_is_bound_to(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account that waits for its finalizers goes on for a minute, as clocks may differ, and then its tokens are nobody's."""
    ns = await setting.api.namespace()
    admin = certificate(setting.ca, *BOB)
    base = f"{setting.api.url}/api/v1/namespaces/{ns}/serviceaccounts"
    async with setting.session(admin) as session, setting.session() as anonymous:
        account = {"metadata": {"name": "a", "finalizers": ["example.com/wait"]}}
        assert (await session.post(base, json=account)).status == 201
        made = await (await session.post(f"{base}/a/token", json={"spec": {}})).json()
        token = f"Bearer {made['status']['token']}"
        assert (await setting.who(anonymous, Authorization=token))[0] == 201
        assert (await session.delete(f"{base}/a")).status == 200
        assert (await setting.who(anonymous, Authorization=token))[0] == 201
        now = datetime.datetime.now(datetime.UTC).timestamp()
        monkeypatch.setattr("navarch.apiserver.authn.living.time.time", lambda: now + 120)
        assert (await setting.who(anonymous, Authorization=token))[0] == 401


async def test_tokens_live_no_longer_than_the_flag_says(setting: Setting) -> None:
    ns = await setting.api.namespace()
    path = f"{setting.api.url}/api/v1/namespaces/{ns}/serviceaccounts/default/token"
    async with setting.session(certificate(setting.ca, *BOB)) as session:
        for asked, got, warnings in ((3600, 3600, 0), (10**6, 7200, 1)):
            async with session.post(path, json={"spec": {"expirationSeconds": asked}}) as answer:
                made = await answer.json()
                assert (made["spec"]["expirationSeconds"], len(answer.headers.getall("Warning", []))) == (got, warnings)
                claims = jwt.decode(made["status"]["token"], options={"verify_signature": False})
                assert claims["exp"] - claims["iat"] == got


async def test_static_tokens_answer_for_the_servers_audience_alone(setting: Setting) -> None:
    ours = setting.api.parts.authenticator.verifier.audiences[0]
    async with setting.session(certificate(setting.ca, *BOB)) as session:
        for audiences, good in (((), [ours]), ((ours, "x"), [ours]), (("x",), None)):
            body = {"spec": {"token": STATIC, "audiences": list(audiences)}}
            status = (await (await session.post(f"{setting.api.url}/apis/authentication.k8s.io/v1/tokenreviews", json=body)).json())["status"]
            assert (status.get("authenticated", False), status.get("audiences")) == (good is not None, good)


# ---- impersonation --------------------------------------------------------------------------------------------------------------


async def test_whom_a_request_is_taken_for(setting: Setting) -> None:
    async with setting.session(certificate(setting.ca, *BOB)) as session:
        status, user = await setting.who(session, **{"Impersonate-User": "jane", "Impersonate-Extra-Foo%2Fbar": "v", "Impersonate-Extra-a%zz": "w"})
        assert (status, user["extra"]) == (201, {"foo/bar": ["v"], "a%zz": ["w"]})
        nobody = impersonation.become(setting.api.parts.authorizer, User("admin", ("system:masters",)), User("system:anonymous"))
        assert nobody.groups == ("system:unauthenticated",)
        odd = (await setting.who(session, Impersonate_User="system:serviceaccount:A_b:c"))[1]
        assert (odd["username"], odd["groups"]) == ("system:serviceaccount:A_b:c", ["system:authenticated"])
        for headers in (
            {"Impersonate-Group": "g"},
            {"Impersonate-Uid": "1"},
            {"Impersonate-Extra-A": "x"},
            {"impersonate-group": "g", "Impersonate-User": ""},
        ):
            status, answer = await setting.who(session, **headers)
            assert (status, answer["reason"]) == (400, "BadRequest")
            assert answer["message"].endswith("without impersonating a user name")


async def test_extras_are_asked_for_by_their_decoded_key(setting: Setting) -> None:
    rules = [
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"]},
        {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/foo/bar"], "resourceNames": ["v"]},
    ]
    async with setting.session(certificate(setting.ca, *BOB)) as session, setting.session(certificate(setting.ca, (CN, "proxy"))) as proxy:
        group = f"{setting.api.url}/apis/rbac.authorization.k8s.io/v1"
        await session.post(f"{group}/clusterroles", json={"metadata": {"name": "taker"}, "rules": rules})
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "taker"}
        subject = {"kind": "User", "name": "proxy", "apiGroup": "rbac.authorization.k8s.io"}
        await session.post(f"{group}/clusterrolebindings", json={"metadata": {"name": "taker"}, "roleRef": ref, "subjects": [subject]})
        assert (await setting.who(proxy, **{"Impersonate-User": "jane", "Impersonate-Extra-Foo%2Fbar": "v"}))[0] == 201
        status, answer = await setting.who(proxy, **{"Impersonate-User": "jane", "Impersonate-Extra-Foo%2Fbar": "w"})
        assert (status, answer["message"]) == (
            403,
            'userextras.authentication.k8s.io "w" is forbidden: User "proxy" cannot impersonate resource "userextras/foo/bar" in API group '
            '"authentication.k8s.io" at the cluster scope',
        )
