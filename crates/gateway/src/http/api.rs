//! The JSON interfaces: sessions of our users (`/api/rtcsessions`) and what operators provision
//! (`/rtcengine/api`). `docs/openapi/rtcengine.yaml` describes them; a test compares.
//!
//! Every request proves who sends it with HTTP Basic. Pages of other origins are refused before
//! anything is done, unless the configuration allows them.

mod answer;
mod endpoint;
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
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use crosspoint_state::{Kind, Object};
use serde_json::{Map, Value};

use super::Arrival;
use crate::config::Origins;
use crate::provisioning::{Principal, Provisioning, Refusal};
use answer::{Answer, Realm};
use endpoint::{Action, ENDPOINTS, Endpoint};

/// What the handlers work with.
#[derive(Clone)]
pub(super) struct Api {
    origins: Arc<Origins>,
    provisioning: Arc<Provisioning>,
}

impl Api {
    pub(super) fn new(origins: Arc<Origins>, provisioning: Arc<Provisioning>) -> Self {
        Self { origins, provisioning }
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
        let allowed = match self.foreign_page(request.headers()) {
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
    fn foreign_page(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
        let Some(origin) = headers.get(ORIGIN) else { return Ok(None) };
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
        let host = headers.get(HOST).map(text);
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
        let done = match endpoint.action {
            Action::Own(action) => self.own(action, endpoint, arrival, request).await,
            action => self.provision(action, endpoint, arrival, request).await,
        };
        done.unwrap_or_else(|refusal| Answer::refusal(&refusal, Realm::of(path)))
    }

    async fn provision(
        &self,
        action: Action,
        endpoint: &Endpoint,
        arrival: &Arrival,
        request: Request,
    ) -> Result<Response, Refusal> {
        let provisioning = &self.provisioning;
        if !provisioning.is_open() {
            return Err(Refusal::Closed);
        }
        let (parts, body) = request.into_parts();
        let who = request::credentials(&parts.headers, arrival).ok_or(Refusal::Unauthorized)?;
        let who: Principal = provisioning.sign_in(who).await?;
        let id = endpoint.id_in(parts.uri.path());
        let id = || id.map(str::to_owned).ok_or(Refusal::NotFound);
        match action {
            Action::Create(kind) => {
                let fields = read_object(&parts.headers, body).await;
                let fields = match fields {
                    Ok(fields) => fields,
                    Err(response) => return Ok(response),
                };
                let (object, token) = provisioning.create(who, kind, fields).await?;
                Ok(Answer::created(&shown::href(&object), &shown::object(&object, token)))
            }
            Action::Show(kind) => {
                let object = provisioning.show(who, kind, id()?).await?;
                Ok(Answer::json(&self.shown(&object)))
            }
            Action::List(kind, parent) => {
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
                provisioning.remove(who, kind, id()?).await?;
                Ok(Answer::json(&Value::Object(Map::new())))
            }
            Action::Own(_) => Err(Refusal::NotFound),
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
