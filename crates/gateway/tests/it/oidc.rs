//! Operators whom a provider of identities vouches for, and everybody who would like to be taken
//! for one. The provider here is one that says what a story wants; a real one is in `e2e/`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::gateway::Gateway;
use crate::http::{Answer, request};
use crate::operators::{TOKEN, add_operator};

const SECRET: &str = "what the provider & the gateway know";
const CODE: &str = "a-code-of-the-provider";

/// What it says next, and what it was asked last.
#[derive(Default)]
struct Play {
    issuer: String,
    /// The ID token of the next answer; without one the code is refused.
    token: Option<String>,
    userinfo: Value,
    names_itself: bool,
    /// Of the sign-in that the next code belongs to.
    challenge: String,
    keys: Vec<Value>,
}

type Shared = Arc<Mutex<Play>>;

struct Provider {
    issuer: String,
    key: KeyPair,
    play: Shared,
    /// Whom its certificate comes from.
    authority: String,
}

impl Provider {
    fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let issuer = format!("https://localhost:{}/staff", listener.local_addr().unwrap().port());
        let key = KeyPair::generate().unwrap();
        let play = Shared::default();
        *play.lock().unwrap() =
            Play { issuer: issuer.clone(), keys: vec![public(&key, "k1")], ..Play::default() };
        let served = play.clone();
        std::thread::spawn(move || serve(listener, TlsAcceptor::from(Arc::new(tls)), served));
        Self { issuer, key, play, authority: made.cert.pem() }
    }

    /// A gateway that knows it.
    fn gateway(&self) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        self.write_into(&folder);
        Gateway::start_with(folder, &self.config())
    }

    fn write_into(&self, folder: &tempfile::TempDir) {
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("token", TOKEN);
        write("oidc.secret", SECRET);
        write("id-ca.pem", &self.authority);
    }

    fn config(&self) -> String {
        format!(
            "[admin]\ntoken_file = \"token\"\n[console.oidc]\nissuer = \"{}\"\n\
             client_id = \"crosspoint\"\nclient_secret_file = \"oidc.secret\"\n\
             roles = {{ admin = [\"gw-admins\"], operator = [\"noc\"] }}\n\
             label = \"Example account\"\naddress = \"https://localhost\"\n\
             ca_file = \"id-ca.pem\"\nallow = [\"127.0.0.0/8\"]\n",
            self.issuer
        )
    }

    /// What it says of somebody who signs in there, for this way in.
    fn claims(&self, way: &Way, other: &Value) -> Value {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let mut claims = json!({
            "iss": self.issuer, "aud": "crosspoint", "sub": "u-1", "iat": now.as_secs(),
            "exp": now.as_secs() + 300, "nonce": way.query["nonce"],
        });
        for (name, value) in other.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    fn signed(&self, claims: &Value) -> String {
        sign(&self.key, claims)
    }

    /// The next code is for this way in, and worth this token.
    fn gives(&self, way: &Way, token: impl Into<Option<String>>) {
        let mut play = self.play.lock().unwrap();
        play.challenge.clone_from(&way.query["code_challenge"]);
        play.token = token.into();
    }

    fn vouches(&self, way: &Way, other: &Value) {
        self.gives(way, self.signed(&self.claims(way, other)));
    }
}

fn public(key: &KeyPair, kid: &str) -> Value {
    let raw = key.public_key_raw();
    let [x, y] = [&raw[1..33], &raw[33..65]].map(|part| URL_SAFE_NO_PAD.encode(part));
    json!({ "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "x": x, "y": y })
}

fn sign(key: &KeyPair, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("k1".to_owned());
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(key.serialized_der())).unwrap()
}

#[tokio::main(flavor = "current_thread")]
async fn serve(listener: std::net::TcpListener, tls: TlsAcceptor, play: Shared) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let router = axum::Router::new()
        .route("/staff/.well-known/openid-configuration", get(document))
        .route("/staff/keys", get(keys))
        .route("/staff/token", post(token))
        .route("/staff/me", get(userinfo))
        .with_state(play);
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(stream) = tls.accept(stream).await else { continue };
        let service = TowerToHyperService::new(router.clone());
        let http = hyper::server::conn::http1::Builder::new();
        tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
    }
}

async fn document(State(play): State<Shared>) -> Json<Value> {
    let play = play.lock().unwrap();
    let at = |path: &str| format!("{}/{path}", play.issuer);
    Json(json!({
        "issuer": play.issuer,
        "authorization_endpoint": at("auth?tenant=1"),
        "token_endpoint": at("token"),
        "jwks_uri": at("keys"),
        "userinfo_endpoint": at("me"),
        "end_session_endpoint": at("end"),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": play.names_itself,
    }))
}

async fn keys(State(play): State<Shared>) -> Json<Value> {
    Json(json!({ "keys": play.lock().unwrap().keys }))
}

/// Takes a code from the client that it knows, with the verifier of the challenge.
async fn token(State(play): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let play = play.lock().unwrap();
    let form = pairs(&body);
    let secret: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let login = format!("Basic {}", STANDARD.encode(format!("crosspoint:{secret}")));
    if headers["authorization"] != login.as_str() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let made = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
    let is_right = form["grant_type"] == "authorization_code"
        && form["code"] == CODE
        && form["redirect_uri"] == "https://localhost/api/v1/session/oidc/callback"
        && made == play.challenge;
    match &play.token {
        Some(token) if is_right => {
            Json(json!({ "id_token": token, "access_token": "a-t", "token_type": "Bearer" }))
                .into_response()
        }
        _ => (StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant" }))).into_response(),
    }
}

async fn userinfo(State(play): State<Shared>, headers: HeaderMap) -> Response {
    match headers["authorization"] == "Bearer a-t" {
        true => Json(play.lock().unwrap().userinfo.clone()).into_response(),
        false => StatusCode::UNAUTHORIZED.into_response(),
    }
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// A browser on its way to the provider.
struct Way {
    cookie: String,
    query: BTreeMap<String, String>,
}

impl Way {
    fn begin(gateway: &Gateway) -> Self {
        let answer = ask(gateway, "GET /api/v1/session/oidc", &[]);
        assert_eq!(answer.status, 303, "{answer:?}");
        let cookie = answer.header("set-cookie").unwrap_or_else(|| panic!("{answer:?}"));
        for word in ["__Host-crosspoint-oidc=", "HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
            assert!(cookie.contains(word), "{cookie}");
        }
        let (address, query) = answer.header("location").unwrap().split_once('?').unwrap();
        assert!(address.ends_with("/staff/auth"), "{address}");
        Self {
            cookie: format!("Cookie: {}", cookie.split(';').next().unwrap()),
            query: pairs(query),
        }
    }

    /// Comes back with what the provider gave.
    fn end(&self, gateway: &Gateway) -> Answer {
        self.end_with(gateway, &format!("code={CODE}"), &[&self.cookie])
    }

    fn end_with(&self, gateway: &Gateway, given: &str, headers: &[&str]) -> Answer {
        let state = &self.query["state"];
        let line = format!("GET /api/v1/session/oidc/callback?{given}&state={state}");
        ask(gateway, &line, headers)
    }
}

fn ask(gateway: &Gateway, line: &str, headers: &[&str]) -> Answer {
    request(gateway.address("http"), line, headers, b"")
}

fn send(gateway: &Gateway, line: &str, headers: &[&str], body: &Value) -> Answer {
    let headers = [&["Content-Type: application/json"], headers].concat();
    request(gateway.address("http"), line, &headers, body.to_string().as_bytes())
}

/// Why somebody is on the sign-in page again.
fn problem(answer: &Answer) -> &str {
    assert_eq!(answer.status, 303, "{answer:?}");
    assert!(answer.cookies().all(|cookie| !cookie.contains("crosspoint=")), "{answer:?}");
    let location = answer.header("location").unwrap();
    location.strip_prefix("/console#/?problem=").unwrap_or_else(|| panic!("{answer:?}"))
}

/// The cookie of who is signed in now; the one of the way is gone.
fn session(gateway: &Gateway, answer: &Answer) -> (String, Value) {
    assert_eq!((answer.status, answer.header("location")), (303, Some("/console")), "{answer:?}");
    let named = |name: &str| answer.cookies().find(|cookie| cookie.starts_with(name)).unwrap();
    let gone = named("__Host-crosspoint-oidc=;");
    assert!(gone.contains("Max-Age=0"), "{gone}");
    let cookie = named("__Host-crosspoint=");
    assert!(cookie.contains("HttpOnly; Secure; SameSite=Strict"), "{cookie}");
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let account = ask(gateway, "GET /api/v1/session", &[&cookie]).json();
    (cookie, account)
}

/// Who, what, to whom and how, the newest first.
fn audit(gateway: &Gateway) -> Vec<(String, Value)> {
    audit_as(gateway, &format!("Authorization: Bearer {TOKEN}"))
}

fn audit_as(gateway: &Gateway, who: &str) -> Vec<(String, Value)> {
    let audit = ask(gateway, "GET /api/v1/audit?limit=100", &[who]).json();
    let line = |entry: &Value| {
        let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
        let line = ["who", "role", "by", "from", "action", "target", "outcome"].map(text).join(" ");
        (line, entry["detail"].clone())
    };
    audit["items"].as_array().unwrap().iter().map(line).collect()
}

#[test]
fn who_has_a_group_signs_in_and_is_known_by_its_name_at_the_provider() {
    let provider = Provider::start();
    let gateway = provider.gateway();
    // Somebody of ours has the same name, and is somebody else.
    add_operator(&gateway, "olga", "viewer");
    let ways = ask(&gateway, "GET /api/v1/session/ways", &[]).json();
    assert_eq!(ways, json!({ "password": true, "oidc": { "label": "Example account" } }));

    let way = Way::begin(&gateway);
    for (name, value) in [
        ("tenant", "1"),
        ("response_type", "code"),
        ("client_id", "crosspoint"),
        ("redirect_uri", "https://localhost/api/v1/session/oidc/callback"),
        ("scope", "openid profile email"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(way.query[name], value, "{name}");
    }
    for secret in ["state", "nonce", "code_challenge"] {
        assert_eq!(way.query[secret].len(), 43, "{secret}: 256 bits");
    }
    let olga = json!({ "preferred_username": "olga", "groups": ["staff", "noc"] });
    provider.vouches(&way, &olga);
    let (cookie, account) = session(&gateway, &way.end(&gateway));
    assert_eq!((&account["name"], &account["role"]), (&json!("olga (oidc)"), &json!("operator")));
    assert_eq!(account["has_password"], false);

    let csrf = format!("X-Crosspoint-Csrf: {}", account["csrf"].as_str().unwrap());
    let as_olga = [cookie.as_str(), csrf.as_str()];
    let ban = json!({ "address": "192.0.2.9" });
    assert_eq!(send(&gateway, "POST /api/v1/bans", &[&cookie], &ban).status, 403);
    assert_eq!(send(&gateway, "POST /api/v1/bans", &as_olga, &ban).status, 200);
    let user = json!({ "name": "x" });
    assert_eq!(send(&gateway, "POST /api/v1/users", &as_olga, &user).status, 403, "no admin");
    let password = json!({ "old": "quite long enough", "password": "another long one" });
    let changed = send(&gateway, "PUT /api/v1/session/password", &as_olga, &password);
    assert_eq!(changed.status, 409, "{changed:?}");
    let end = send(&gateway, "DELETE /api/v1/session", &as_olga, &json!({})).json();
    assert_eq!(
        end["end"],
        format!(
            "{}/end?client_id=crosspoint&post_logout_redirect_uri=https%3A%2F%2Flocalhost%2Fconsole",
            provider.issuer
        )
    );
    assert_eq!(ask(&gateway, "GET /api/v1/calls", &[&cookie]).status, 401);

    let audit = audit(&gateway);
    let told: Vec<&str> = audit.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(
        told[..told.len() - 1],
        [
            "olga (oidc) operator console 127.0.0.1 session.end  done",
            "olga (oidc) operator console 127.0.0.1 operator.password  refused: 409 Conflict",
            "olga (oidc) operator console 127.0.0.1 user.add  refused: 403 Forbidden",
            "olga (oidc) operator console 127.0.0.1 ban.add 192.0.2.9 done",
            "olga (oidc) operator console 127.0.0.1 session.begin olga (oidc) done",
        ]
    );
    let sign_in = &audit[4].1;
    assert_eq!(*sign_in, json!({ "issuer": provider.issuer, "subject": "u-1" }));
    let metrics = gateway.get("/metrics").1;
    assert!(
        metrics.contains("crosspoint_console_oidc_total{outcome=\"signed_in\"} 1"),
        "{metrics}"
    );
}

/// What the token does not say is asked for, and must be about the same one.
#[test]
fn a_provider_that_tells_groups_only_when_asked_is_asked() {
    let provider = Provider::start();
    let gateway = provider.gateway();
    let info = json!({ "sub": "u-1", "preferred_username": "ann", "groups": ["gw-admins"] });
    provider.play.lock().unwrap().userinfo = info;
    let way = Way::begin(&gateway);
    provider.vouches(&way, &json!({}));
    let (_, account) = session(&gateway, &way.end(&gateway));
    assert_eq!((&account["name"], &account["role"]), (&json!("ann (oidc)"), &json!("admin")));
    provider.play.lock().unwrap().userinfo["sub"] = json!("u-2");
    let way = Way::begin(&gateway);
    provider.vouches(&way, &json!({}));
    assert_eq!(problem(&way.end(&gateway)), "untrusted");
}

#[test]
fn a_callback_is_good_once_and_in_its_own_browser() {
    let provider = Provider::start();
    let gateway = provider.gateway();
    let (mine, other) = (Way::begin(&gateway), Way::begin(&gateway));
    provider.vouches(&mine, &json!({ "preferred_username": "eve", "groups": ["noc"] }));
    let code = format!("code={CODE}");
    // Eve has her own address opened by others: nobody is signed in as Eve.
    assert_eq!(problem(&mine.end_with(&gateway, &code, &[])), "stale");
    assert_eq!(problem(&mine.end_with(&gateway, &code, &[&other.cookie])), "stale");
    let forged = ask(
        &gateway,
        &format!("GET /api/v1/session/oidc/callback?{code}&state=guessed"),
        &[&mine.cookie],
    );
    assert_eq!(problem(&forged), "stale");
    assert!(forged.header("set-cookie").is_none(), "nor is anybody kept from signing in");
    assert_eq!(problem(&ask(&gateway, "GET /api/v1/session/oidc/callback", &[])), "stale");
    session(&gateway, &mine.end(&gateway));
    assert_eq!(problem(&mine.end(&gateway)), "stale", "it was used");

    // A code of one sign-in is worth nothing in another: the verifier is not the same.
    provider.gives(&mine, provider.signed(&provider.claims(&other, &json!({ "groups": "noc" }))));
    assert_eq!(problem(&other.end(&gateway)), "untrusted");
    // The provider lets nobody in, and says so itself.
    let denied = Way::begin(&gateway);
    let said = denied.end_with(&gateway, "error=access_denied", &[&denied.cookie]);
    assert_eq!(problem(&said), "denied");
    assert_eq!(problem(&denied.end(&gateway)), "stale");
}

#[test]
fn a_provider_that_names_itself_is_the_one_that_is_meant() {
    let provider = Provider::start();
    provider.play.lock().unwrap().names_itself = true;
    let gateway = provider.gateway();
    for (given, expected) in [
        ("&iss=https%3A%2F%2Fevil.example".to_owned(), "untrusted"),
        (String::new(), "untrusted"),
        (format!("&iss={}", provider.issuer), "signed in"),
    ] {
        let way = Way::begin(&gateway);
        provider.vouches(&way, &json!({ "preferred_username": "ann", "groups": ["noc"] }));
        let answer = way.end_with(&gateway, &format!("code={CODE}{given}"), &[&way.cookie]);
        match expected {
            "signed in" => drop(session(&gateway, &answer)),
            _ => assert_eq!(problem(&answer), expected, "{given}"),
        }
    }
}

#[test]
fn tokens_that_prove_nothing_let_nobody_in() {
    let provider = Provider::start();
    let gateway = provider.gateway();
    let stranger = KeyPair::generate().unwrap();
    let good = json!({ "preferred_username": "eve", "groups": ["gw-admins"] });
    let with = |member: &str, value: Value| {
        let mut claims = good.clone();
        claims[member] = value;
        claims
    };
    type Made<'a> = Box<dyn Fn(&Way) -> Option<String> + 'a>;
    let says = |claims: Value| -> Made<'_> {
        let provider = &provider;
        Box::new(move |way| Some(provider.signed(&provider.claims(way, &claims))))
    };
    let unsigned = |way: &Way| {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(json!({ "alg": "none", "kid": "k1" }));
        Some(format!("{header}.{}.", part(provider.claims(way, &good))))
    };
    let shared = |way: &Way| {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("k1".to_owned());
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        Some(jsonwebtoken::encode(&header, &provider.claims(way, &good), &key).unwrap())
    };
    let tries: [(&str, Made<'_>); 9] = [
        ("no signature", Box::new(unsigned)),
        ("a secret that two know", Box::new(shared)),
        (
            "the key of a stranger",
            Box::new(|way| Some(sign(&stranger, &provider.claims(way, &good)))),
        ),
        ("another client", says(with("aud", json!("another")))),
        ("another client got it", says(with("azp", json!("another")))),
        ("another sign-in", says(with("nonce", json!("another")))),
        ("long ago", says(with("exp", json!(1_600_000_000)))),
        ("another issuer", says(with("iss", json!("https://evil.example")))),
        ("a code that is not good", Box::new(|_| None)),
    ];
    for (what, token) in &tries {
        let way = Way::begin(&gateway);
        provider.gives(&way, token(&way));
        assert_eq!(problem(&way.end(&gateway)), "untrusted", "{what}");
    }
    // The same ones with nothing wrong get in: it was what it was said to be.
    let way = Way::begin(&gateway);
    provider.vouches(&way, &good);
    session(&gateway, &way.end(&gateway));
    // Whoever goes on guessing is not listened to for a while, even if it is right.
    let way = Way::begin(&gateway);
    provider.gives(&way, None);
    assert_eq!(problem(&way.end(&gateway)), "untrusted");
    let way = Way::begin(&gateway);
    provider.vouches(&way, &good);
    assert_eq!(problem(&way.end(&gateway)), "limited");
}

#[test]
fn who_has_no_group_is_refused_and_that_is_noted() {
    let provider = Provider::start();
    let gateway = provider.gateway();
    let way = Way::begin(&gateway);
    let eve =
        json!({ "preferred_username": "eve\u{202e}\n(x)", "groups": ["staff"], "sub": "u-9" });
    provider.vouches(&way, &eve);
    assert_eq!(problem(&way.end(&gateway)), "no_role");
    let audit = audit(&gateway);
    let expected = "nobody nobody console 127.0.0.1 session.begin eve???x? (oidc) refused: no_role";
    assert_eq!(audit[0].0, expected);
    assert_eq!(audit[0].1, json!({ "issuer": provider.issuer, "subject": "u-9" }));
}

#[test]
fn a_provider_that_cannot_be_asked_is_told_of_and_nothing_secret_with_it() {
    let provider = Provider::start();
    let folder = tempfile::tempdir().unwrap();
    provider.write_into(&folder);
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let config = format!("[log]\nlevel = \"trace\"\n{}", provider.config());
    // Another certificate than it has: TLS fails, as it does with who is in the way.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("other-ca.pem"), other.cert.pem()).unwrap();
    let gateway =
        Gateway::start_logging(folder, &config.replace("id-ca.pem", "other-ca.pem"), file);
    let answer = ask(&gateway, "GET /api/v1/session/oidc", &[]);
    assert_eq!(problem(&answer), "unavailable");
    let metrics = gateway.get("/metrics").1;
    let counted = "crosspoint_console_oidc_total{outcome=\"unavailable\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("the provider of identities cannot be reached"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
}

#[test]
fn nothing_secret_of_a_sign_in_is_in_the_log() {
    let provider = Provider::start();
    let folder = tempfile::tempdir().unwrap();
    provider.write_into(&folder);
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let config = format!("[log]\nlevel = \"trace\"\n{}", provider.config());
    let gateway = Gateway::start_logging(folder, &config, file);
    let way = Way::begin(&gateway);
    provider.vouches(&way, &json!({ "preferred_username": "ann", "groups": ["noc"] }));
    let token = provider.play.lock().unwrap().token.clone().unwrap();
    let (cookie, _) = session(&gateway, &way.end(&gateway));
    let refused = Way::begin(&gateway);
    provider.gives(&refused, None);
    assert_eq!(problem(&refused.end(&gateway)), "untrusted");
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("gives no token"), "{said}");
    let cookie_value = |cookie: &str| cookie.split_once('=').unwrap().1.to_owned();
    let secrets = [
        SECRET.to_owned(),
        CODE.to_owned(),
        token,
        cookie_value(&cookie),
        cookie_value(&way.cookie),
        way.query["state"].clone(),
        way.query["nonce"].clone(),
    ];
    for secret in secrets {
        assert!(!said.contains(&secret), "{secret} in {said}");
    }
}

#[test]
fn a_browser_that_came_by_another_name_is_sent_to_the_one_it_comes_back_to() {
    let provider = Provider::start();
    let folder = tempfile::tempdir().unwrap();
    provider.write_into(&folder);
    let config = provider.config().replace("https://localhost\"", "https://gw.example:8443\"");
    let gateway = Gateway::start_with(folder, &config);
    let there = ask(&gateway, "GET /api/v1/session/oidc", &[]);
    let address = "https://gw.example:8443/api/v1/session/oidc?here=1";
    assert_eq!((there.status, there.header("location")), (303, Some(address)));
    assert!(there.header("set-cookie").is_none());
    // A proxy may call us what it likes: nobody goes in a circle.
    let here = ask(&gateway, "GET /api/v1/session/oidc?here=1", &[]);
    assert!(here.header("location").unwrap().starts_with(&provider.issuer), "{here:?}");
}

#[test]
fn without_a_provider_there_is_only_the_password() {
    let gateway = Gateway::start("");
    let ways = ask(&gateway, "GET /api/v1/session/ways", &[]).json();
    assert_eq!(ways, json!({ "password": true, "oidc": null }));
    assert_eq!(ask(&gateway, "GET /api/v1/session/oidc", &[]).status, 404);
    assert_eq!(ask(&gateway, "GET /api/v1/session/oidc/callback?code=x&state=y", &[]).status, 404);
}

#[test]
fn failed_sign_ins_are_noted_with_the_name_but_strangers_do_not_fill_the_audit() {
    let gateway = crate::operators::start_with_token("");
    add_operator(&gateway, "ann", "admin");
    // Who is in stays in, whatever comes from the same address.
    let ann = crate::operators::Console::sign_in(&gateway, "ann").cookie();
    let sign_in = |name: &str, password: &str| {
        let body = json!({ "name": name, "password": password });
        send(&gateway, "POST /api/v1/session", &[], &body).status
    };
    assert_eq!(sign_in("ann", "guessed-it-is"), 401);
    // A password that was typed one field too early.
    assert_eq!(sign_in("my secret passw0rd!", ""), 401);
    let failed = |name: &str, why: &str| {
        format!("nobody nobody console 127.0.0.1 session.begin {name} refused: {why}")
    };
    let noted = audit_as(&gateway, &ann);
    let newest = [noted[0].0.clone(), noted[1].0.clone()];
    let unauthorized = "401 Unauthorized";
    assert_eq!(newest, [failed("(not a name)", unauthorized), failed("ann", unauthorized)]);
    for n in 0..20 {
        assert!([401, 429].contains(&sign_in("ann", &format!("guessed-{n}"))));
    }
    let noted = audit_as(&gateway, &ann);
    let failed = noted.iter().filter(|(line, _)| line.starts_with("nobody nobody"));
    assert_eq!(failed.count(), 5, "{noted:?}");
    let all = format!("{noted:?}");
    assert!(!all.contains("guessed") && !all.contains("passw0rd"), "{all}");
    let metrics = gateway.get("/metrics").1;
    assert!(metrics.contains("crosspoint_audit_unnoted_total 17"), "{metrics}");
}
