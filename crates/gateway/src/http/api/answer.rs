//! Answers in JSON. None may be kept by a cache: some carry tokens.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::cli::Failure;
use crate::provisioning::Refusal;

pub(super) struct Answer;

/// What a name and password are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Realm {
    Provisioning,
    Users,
    Operators,
}

impl Realm {
    pub(super) fn of(path: &str) -> Self {
        match path {
            _ if path.starts_with("/rtcengine/") => Self::Provisioning,
            _ if path.starts_with("/api/v1/") => Self::Operators,
            _ => Self::Users,
        }
    }

    fn challenge(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Provisioning => "Basic realm=\"rtcengine\", charset=\"UTF-8\"",
            Self::Users => "Basic realm=\"crosspoint\", charset=\"UTF-8\"",
            Self::Operators => "Bearer realm=\"crosspoint\"",
        })
    }
}

impl Answer {
    pub(super) fn json(value: &Value) -> Response {
        Self::with(StatusCode::OK, value)
    }

    pub(super) fn created(location: &str, value: &Value) -> Response {
        let mut response = Self::with(StatusCode::CREATED, value);
        if let Ok(location) = HeaderValue::from_str(location) {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }

    /// With what a browser is to send from now on.
    pub(super) fn with_cookie(value: &Value, cookie: &str) -> Response {
        let mut response = Self::with(StatusCode::OK, value);
        if let Ok(cookie) = HeaderValue::from_str(cookie) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }

    /// A browser goes on there, with what it is to send from now on.
    pub(super) fn redirect(location: &str, cookies: &[String]) -> Response {
        let mut response = (StatusCode::SEE_OTHER, [(CACHE_CONTROL, "no-store")]).into_response();
        let headers = response.headers_mut();
        match HeaderValue::from_str(location) {
            Ok(location) => headers.insert(LOCATION, location),
            Err(_) => return Self::refusal(&Refusal::Internal, Realm::Operators),
        };
        for cookie in cookies.iter().filter_map(|cookie| HeaderValue::from_str(cookie).ok()) {
            headers.append(SET_COOKIE, cookie);
        }
        response
    }

    /// A text that cannot be used, with everything that is wrong with it.
    pub(super) fn wrong_configuration(wrong: &Value) -> Response {
        let mut value = wrong.clone();
        value["code"] = json!("invalid");
        value["message"] = json!("something is wrong with this configuration");
        Self::with(StatusCode::UNPROCESSABLE_ENTITY, &value)
    }

    pub(super) fn nothing() -> Response {
        (StatusCode::NO_CONTENT, [(CACHE_CONTROL, "no-store")]).into_response()
    }

    pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Response {
        Self::with(status, &json!({ "code": code, "message": message }))
    }

    pub(super) fn refusal(refusal: &Refusal, realm: Realm) -> Response {
        let error = Self::error;
        match refusal {
            Refusal::Unauthorized => {
                let why = match realm {
                    Realm::Operators => "sign in, or send the token of section [admin] as Bearer",
                    _ => "name and password are needed, by HTTP Basic",
                };
                let mut response = error(StatusCode::UNAUTHORIZED, "unauthorized", why);
                response.headers_mut().insert(WWW_AUTHENTICATE, realm.challenge());
                response
            }
            Refusal::TooMany(wait) => {
                let seconds = wait.as_secs().saturating_add(1);
                let why = format!("too many attempts; try again in {seconds} s");
                let mut response = error(StatusCode::TOO_MANY_REQUESTS, "tooManyAttempts", &why);
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
                response
            }
            Refusal::Closed => {
                let why = "provisioning is closed: it needs provisioning_user and \
                           provisioning_password_file in section [rtcengine]";
                error(StatusCode::FORBIDDEN, "closed", why)
            }
            Refusal::NoAdmin => {
                let why = "this is closed: it needs an operator (crosspoint operator add), or \
                           token_file or token_env in section [admin]";
                error(StatusCode::FORBIDDEN, "closed", why)
            }
            Refusal::Forbidden(why) => error(StatusCode::FORBIDDEN, "forbidden", why),
            Refusal::NotFound => {
                error(StatusCode::NOT_FOUND, "notFound", "there is nothing of this name here")
            }
            Refusal::Invalid { member, why } => {
                let why = format!("{member}: {why}");
                error(StatusCode::UNPROCESSABLE_ENTITY, "invalid", &why)
            }
            Refusal::Conflict(why) => error(StatusCode::CONFLICT, "exists", why),
            Refusal::State(why) => error(StatusCode::CONFLICT, "conflict", why),
            Refusal::Full(why) => error(StatusCode::CONFLICT, "full", why),
            Refusal::Internal => {
                let why = "this failed on our side; the log says why";
                error(StatusCode::INTERNAL_SERVER_ERROR, "internalError", why)
            }
        }
    }

    /// A configuration that is not taken over: with every problem, where it is one of the file.
    pub(super) fn not_reloaded(failure: &Failure) -> Response {
        let mut value = json!({ "code": "notReloaded", "message": failure.to_string() });
        if let Failure::Config(error) = failure {
            value["errors"] = error.to_json()["errors"].take();
        }
        Self::with(StatusCode::UNPROCESSABLE_ENTITY, &value)
    }

    fn with(status: StatusCode, value: &Value) -> Response {
        let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
        (status, headers, value.to_string()).into_response()
    }
}
