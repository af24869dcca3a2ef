//! What there is to request.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{any, get};
use axum::{Router, middleware};
use hyper::upgrade::OnUpgrade;

use super::api::Api;
use super::upgrade::{self, Purpose};
use super::{Arrival, Backend};
use crate::config::Origins;
use crate::provisioning::Provisioning;

#[derive(Clone)]
struct Site {
    origins: Arc<Origins>,
    backend: Arc<dyn Backend>,
}

/// A file of the web phone or the console, built into the binary.
struct Asset {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

pub(super) fn router(
    origins: Origins,
    backend: Arc<dyn Backend>,
    provisioning: Arc<Provisioning>,
) -> Router {
    let origins = Arc::new(origins);
    let mut router = Router::new()
        // GET, and CONNECT within HTTP/2.
        .route("/ws", any(sip_socket))
        .route("/rtc/api", any(app_socket))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/v1/phone-config", get(phone_config))
        .route("/api/v1/openapi.yaml", get(document));
    for asset in &ASSETS {
        router = router.route(asset.path, get(move || async move { asset.response() }));
    }
    router
        .with_state(Site { origins: origins.clone(), backend: backend.clone() })
        .merge(Api::new(origins, provisioning, backend).router())
        .layer(middleware::map_response(with_security_headers))
}

async fn sip_socket(site: State<Site>, arrival: Extension<Arrival>, request: Request) -> Response {
    web_socket(site, arrival, request, Purpose::Sip)
}

async fn app_socket(site: State<Site>, arrival: Extension<Arrival>, request: Request) -> Response {
    web_socket(site, arrival, request, Purpose::Apps)
}

fn web_socket(
    State(site): State<Site>,
    Extension(arrival): Extension<Arrival>,
    mut request: Request,
    purpose: Purpose,
) -> Response {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let backend = site.backend.clone();
    upgrade::answer(&request, upgrade, arrival, purpose, &site.origins, backend)
}

async fn ready(State(site): State<Site>) -> Response {
    if site.backend.is_ready().await {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

async fn metrics(State(site): State<Site>) -> Response {
    let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, site.backend.metrics().await).into_response()
}

async fn phone_config(State(site): State<Site>) -> Response {
    Json(site.backend.phone_config()).into_response()
}

/// What operators' programs may ask of us.
async fn document() -> Response {
    let text = include_str!("../../../../docs/openapi/admin.yaml");
    ([(CONTENT_TYPE, "application/yaml; charset=utf-8")], text).into_response()
}

async fn with_security_headers(mut response: Response) -> Response {
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

impl Asset {
    fn response(&self) -> Response {
        let headers = [(CONTENT_TYPE, self.kind), (CACHE_CONTROL, "no-cache")];
        (headers, self.bytes).into_response()
    }
}

const SECURITY_HEADERS: [(HeaderName, &str); 4] = [
    (
        HeaderName::from_static("content-security-policy"),
        "default-src 'self'; connect-src 'self' wss: ws:; img-src 'self' data:; \
         media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
    (HeaderName::from_static("x-content-type-options"), "nosniff"),
    (HeaderName::from_static("referrer-policy"), "no-referrer"),
    (HeaderName::from_static("permissions-policy"), "microphone=(self), camera=(self)"),
];

/// Everything in `ui/dist`; a test compares.
const ASSETS: [Asset; 6] = [
    Asset {
        path: "/",
        kind: "text/html; charset=utf-8",
        bytes: include_bytes!("../../../../ui/dist/index.html"),
    },
    Asset {
        path: "/phone.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("../../../../ui/dist/phone.css"),
    },
    Asset {
        path: "/phone.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../../../ui/dist/phone.js"),
    },
    Asset {
        path: "/console",
        kind: "text/html; charset=utf-8",
        bytes: include_bytes!("../../../../ui/dist/console.html"),
    },
    Asset {
        path: "/console.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("../../../../ui/dist/console.css"),
    },
    Asset {
        path: "/console.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../../../ui/dist/console.js"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_file_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ui/dist");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = match name.as_str() {
                "index.html" => "/".to_owned(),
                "console.html" => "/console".to_owned(),
                name => format!("/{name}"),
            };
            assert!(ASSETS.iter().any(|asset| asset.path == path), "{path}");
        }
    }
}
