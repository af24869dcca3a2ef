//! The JSON interfaces: sessions of our users (`/api/rtcsessions`), what operators provision
//! (`/rtcengine/api`), and running calls (`/api/v1`). `docs/openapi` describes them; a test
//! compares.
//!
//! Every request proves who sends it with HTTP Basic, a token or the cookie of the console, and goes through the
//! one table of permissions. Pages of other origins are refused before anything is done, unless the configuration
//! allows them. What was changed is noted.

mod admin;
mod answer;
mod configuration;
mod console;
mod endpoint;
mod identity;
mod oidc;
mod request;
mod sessions;
mod shown;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Extension, Request};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, HOST, HeaderValue, ORIGIN, VARY,
};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use crosspoint_state::{AuditEntry, Kind, Object};
use serde_json::{Map, Value};

use super::{Arrival, Backend};
use crate::audit;
use crate::bans::unix_millis;
use crate::config::Origins;
use crate::permissions::{self, Principal, Reach};
use crate::provisioning::{Provisioning, Refusal, Sphere};
use answer::{Answer, Realm};
use endpoint::{Action, ENDPOINTS, Endpoint};

/// What the handlers work with.
#[derive(Clone)]
pub(super) struct Api {
    origins: Arc<Origins>,
    provisioning: Arc<Provisioning>,
    backend: Arc<dyn Backend>,
}

impl Api {
    pub(super) fn new(
        origins: Arc<Origins>,
        provisioning: Arc<Provisioning>,
        backend: Arc<dyn Backend>,
    ) -> Self {
        Self { origins, provisioning, backend }
    }

    /// Every path, with and without a slash at its end.
    pub(super) fn router(self) -> Router {
        let mut router = Router::new();
        let mut paths: Vec<&'static str> = ENDPOINTS.iter().map(|e| e.path).collect();
        paths.dedup();
        for path in paths {
            for written in [path.to_owned(), format!("{path}/")] {
                let api = self.clone();
                let handler = move |Extension(arrival): Extension<Arrival>, request: Request| async move {
                    api.answer(path, &arrival, request).await
                };
                router = router.route(&written, any(handler));
            }
        }
        let nowhere = || async { Answer::refusal(&Refusal::NotFound, Realm::Provisioning) };
        router.route("/rtcengine/api/{*rest}", any(nowhere))
    }

    async fn answer(&self, path: &'static str, arrival: &Arrival, request: Request) -> Response {
        let realm = Realm::of(path);
        let allowed = match self.foreign_page(request.headers(), request.uri()) {
            Ok(allowed) => allowed,
            Err(refusal) => return Answer::refusal(&refusal, realm),
        };
        let mut response = self.dispatch(path, arrival, request).await;
        if let Some(origin) = allowed {
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(VARY, HeaderValue::from_static("Origin"));
            let told = HeaderValue::from_static("Location, Retry-After");
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, told);
        }
        response
    }

    /// The origin of a page of another host that may use us. A page that may not is refused even
    /// what it could do without reading the answer.
    fn foreign_page(&self, headers: &HeaderMap, uri: &Uri) -> Result<Option<HeaderValue>, Refusal> {
        let Some(origin) = headers.get(ORIGIN) else { return Ok(None) };
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
        let host = host_of(headers, uri);
        if self.origins.allow(Some(&text(origin)), host.as_deref()) {
            Ok(Some(origin.clone()))
        } else {
            Err(Refusal::Forbidden("this page's origin is not allowed"))
        }
    }

    async fn dispatch(&self, path: &'static str, arrival: &Arrival, request: Request) -> Response {
        let here = || ENDPOINTS.iter().filter(move |endpoint| endpoint.path == path);
        let allow = || {
            let methods: Vec<&str> = here().map(|endpoint| endpoint.method.as_str()).collect();
            let methods = methods.join(", ");
            HeaderValue::from_str(&methods).expect("names of methods are plain")
        };
        if request.method() == Method::OPTIONS {
            return preflight(allow());
        }
        let Some(endpoint) = here().find(|endpoint| endpoint.method == request.method()) else {
            let mut response = Answer::error(
                StatusCode::METHOD_NOT_ALLOWED,
                "methodNotAllowed",
                "this cannot be done here",
            );
            response.headers_mut().insert(ALLOW, allow());
            return response;
        };
        let mut noted = Noted::default();
        let asked = request.uri().path().to_owned();
        let done = self.decide(endpoint, arrival, request, &mut noted).await;
        let response = done.unwrap_or_else(|refusal| Answer::refusal(&refusal, Realm::of(path)));
        let Some(action) = endpoint.audited() else { return response };
        let entry = noted.entry(action, endpoint.target_in(&asked), arrival, &response);
        if noted.who.is_some() {
            self.provisioning.note(entry).await;
        } else if noted.tried.is_some() && !response.status().is_success() {
            self.provisioning.note_failure(entry, arrival.remote.ip()).await;
        }
        response
    }

    /// The one way to everything: who asks, whether the table allows it, and then it is done.
    async fn decide(
        &self,
        endpoint: &Endpoint,
        arrival: &Arrival,
        request: Request,
        noted: &mut Noted,
    ) -> Result<Response, Refusal> {
        let who = self
            .who(endpoint, arrival, (request.method(), request.uri()), request.headers())
            .await?;
        noted.who.clone_from(&who);
        let allowed = permissions::check(who.as_ref(), endpoint.needs);
        match (endpoint.action, who) {
            (Action::Own(action), who) => {
                allowed?;
                let Some(Principal::User(user)) = who else { return Err(Refusal::Unauthorized) };
                self.own(action, user, endpoint, request, noted).await
            }
            (Action::Admin(action), who) => {
                allowed?;
                self.admin(action, who, arrival, request, noted).await
            }
            (action, Some(who)) => {
                self.provision(action, endpoint, who, allowed, request, noted).await
            }
            (_, None) => Err(Refusal::Unauthorized),
        }
    }

    async fn provision(
        &self,
        action: Action,
        endpoint: &Endpoint,
        who: Principal,
        allowed: Result<Reach, Refusal>,
        request: Request,
        noted: &mut Noted,
    ) -> Result<Response, Refusal> {
        let provisioning = &self.provisioning;
        let (parts, body) = request.into_parts();
        let who = match (who, &allowed) {
            (Principal::Owner(id), Ok(Reach::Own) | Err(_)) => Sphere::Owner(id),
            (_, Ok(Reach::Everything)) => Sphere::Everything,
            (_, Ok(Reach::Own | Reach::Nothing)) => return Err(Refusal::NotFound),
            (_, Err(refusal)) => return Err(refusal.clone()),
        };
        let id = endpoint.id_in(parts.uri.path());
        let id = || id.map(str::to_owned).ok_or(Refusal::NotFound);
        match action {
            Action::Create(kind) => {
                allowed?;
                let fields = match read_object(&parts.headers, body).await {
                    Ok(fields) => fields,
                    Err(response) => return Ok(response),
                };
                noted.detail = audit::detail(&fields);
                let (object, token) = provisioning.create(who, kind, fields).await?;
                Ok(Answer::created(&shown::href(&object), &shown::object(&object, token)))
            }
            Action::Show(kind) => {
                allowed?;
                let object = provisioning.show(who, kind, id()?).await?;
                Ok(Answer::json(&self.shown(&object)))
            }
            Action::List(kind, parent) => {
                allowed?;
                let query = request::Query::read(parts.uri.query())?;
                let parent = parent.map(|kind| Ok::<_, Refusal>((kind, id()?))).transpose()?;
                let (objects, total) = provisioning.list(who, kind, parent, query.part).await?;
                let item = |object| {
                    if query.expand { self.shown(object) } else { shown::reference(object) }
                };
                let items: Vec<Value> = objects.iter().map(item).collect();
                Ok(Answer::json(&serde_json::json!({ "items": items, "total": total })))
            }
            Action::Remove(kind) => {
                if allowed.is_err() {
                    // What is somebody else's is as if it were not there.
                    provisioning.show(who.clone(), kind, id()?).await?;
                }
                allowed?;
                provisioning.remove(who, kind, id()?).await?;
                Ok(Answer::json(&Value::Object(Map::new())))
            }
            Action::Own(_) | Action::Admin(_) => Err(Refusal::NotFound),
        }
    }

    fn shown(&self, object: &Object) -> Value {
        let token = match object.kind() {
            Kind::Session => self.provisioning.fresh_token(object.id()),
            _ => None,
        };
        shown::object(object, token)
    }
}

/// Whom a request is for. HTTP/2 names it in the pseudo-header `:authority`.
fn host_of(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let named = headers.get(HOST).map(|host| host.to_str().unwrap_or_default().to_owned());
    named.or_else(|| uri.authority().map(ToString::to_string))
}

/// What the audit keeps of a request.
#[derive(Debug, Default)]
struct Noted {
    who: Option<Principal>,
    /// As whom somebody wanted to sign in.
    tried: Option<String>,
    detail: Map<String, Value>,
    /// How it went, where the answer's status does not tell.
    outcome: Option<String>,
}

impl Noted {
    fn entry(
        &self,
        action: &str,
        target: String,
        arrival: &Arrival,
        response: &Response,
    ) -> AuditEntry {
        let nobody = || ("nobody", "nobody");
        let (name, role) = self.who.as_ref().map_or_else(nobody, Principal::named);
        // Whoever tries to sign in does so there.
        let is_console = match &self.who {
            Some(who) => matches!(who, Principal::Staff(staff) if staff.is_console),
            None => true,
        };
        let named = ["name", "address", "email", "tag"].iter().find_map(|m| self.detail.get(*m));
        let tried = self.tried.as_deref();
        let named = tried.or_else(|| named.and_then(Value::as_str));
        let made = || named.unwrap_or_default().to_owned();
        let status = response.status();
        AuditEntry {
            number: 0,
            at: unix_millis(),
            who: name.to_owned(),
            role: role.to_owned(),
            by: if is_console { "console" } else { "api" }.to_owned(),
            source: Some(arrival.remote.ip().to_canonical().to_string()),
            action: action.to_owned(),
            target: if target.is_empty() { made() } else { target },
            detail: Value::Object(self.detail.clone()).to_string(),
            outcome: match &self.outcome {
                Some(outcome) => outcome.clone(),
                None if status.is_success() => "done".to_owned(),
                None => format!("refused: {status}"),
            },
        }
    }
}

/// The members of a request's body, or the answer to one that cannot be read.
async fn read_object(headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, Response> {
    let error = Answer::error;
    let too_large = || {
        let why = "the body is longer than 64 KiB";
        error(StatusCode::PAYLOAD_TOO_LARGE, "tooLarge", why)
    };
    // What is announced as too long is not waited for.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    let read = tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, MAX_BODY));
    let bytes = match read.await {
        Ok(Ok(bytes)) => bytes,
        // What else may go wrong has nobody left to read the answer.
        Ok(Err(_)) => return Err(too_large()),
        Err(_) => {
            let why = "the body took too long";
            return Err(error(StatusCode::REQUEST_TIMEOUT, "timeout", why));
        }
    };
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    if !request::is_json(headers) {
        let why = "the body must be application/json";
        return Err(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupportedType", why));
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(error(StatusCode::BAD_REQUEST, "badJson", "the body must be an object")),
        Err(problem) => {
            let why = format!("line {}, column {}", problem.line(), problem.column());
            let why = format!("the body is no JSON: {why}");
            Err(error(StatusCode::BAD_REQUEST, "badJson", &why))
        }
    }
}

/// What a page of another origin asks before it does anything. Whether it may was checked.
fn preflight(allow: HeaderValue) -> Response {
    let headers = [
        (ALLOW, allow.clone()),
        (ACCESS_CONTROL_ALLOW_METHODS, allow),
        (ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type")),
        (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

const MAX_BODY: usize = 64 * 1024;
const BODY_TIME: Duration = Duration::from_secs(15);
