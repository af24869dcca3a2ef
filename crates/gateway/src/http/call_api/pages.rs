//! Pages that use the call API by gRPC-Web: which may (Fetch §3.3), and that they cannot speak and
//! listen on one stream.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CONTENT_TYPE, HOST, HeaderMap,
    HeaderValue, ORIGIN, VARY,
};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::Origins;

/// A request came by gRPC-Web: its client says nothing more on this stream, but may on others.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByPage;

pub(super) async fn guard(
    State(origins): State<Arc<Origins>>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let text = |value: Option<&HeaderValue>| value.and_then(|v| v.to_str().ok().map(str::to_owned));
    let is_by_page = text(headers.get(CONTENT_TYPE))
        .is_some_and(|kind| kind.starts_with("application/grpc-web"));
    let origin = headers.get(ORIGIN).cloned();
    if let Some(origin) = &origin {
        // HTTP/2 names it in the pseudo-header `:authority`.
        let authority = request.uri().authority().map(ToString::to_string);
        let host = text(headers.get(HOST)).or(authority);
        if !origins.allow(text(Some(origin)).as_deref(), host.as_deref()) {
            return (StatusCode::FORBIDDEN, "this page's origin is not allowed\n").into_response();
        }
    }
    if is_by_page {
        request.extensions_mut().insert(ByPage);
    }
    let mut response = match request.method() {
        &Method::OPTIONS if origin.is_some() => preflight(),
        _ => next.run(request).await,
    };
    if let Some(origin) = origin {
        allow(response.headers_mut(), origin);
    }
    response
}

fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (
            ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, crosspoint-resume, grpc-timeout, wg2-msisdn, \
             x-grpc-web, x-user-agent",
        ),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    let told = "grpc-status, grpc-message, crosspoint-resume, crosspoint-resumed";
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(told));
}
