//! What a provider publishes of itself (OpenID Connect Discovery 1.0 §3).

use axum::http::Uri;
use serde_json::{Map, Value};

/// Addresses of a provider.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Provider {
    pub(super) authorization: String,
    pub(super) token: String,
    pub(super) keys: String,
    pub(super) userinfo: Option<String>,
    /// Where one signs out.
    pub(super) end: Option<String>,
    /// Who comes back says from whom (RFC 9207 §3).
    pub(super) names_itself: bool,
}

/// OpenID Connect Discovery 1.0 §4.
pub(super) fn address(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

impl Provider {
    pub(super) fn read(document: &[u8], issuer: &str) -> Result<Self, &'static str> {
        let document: Map<String, Value> =
            serde_json::from_slice(document).map_err(|_| "its document is no JSON object")?;
        // §4.3: somebody else's document would send us to somebody else.
        if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err("its document names another issuer than the configuration");
        }
        // RFC 8414 §2: who does not say what it can may be able to.
        if let Some(Value::Array(methods)) = document.get("code_challenge_methods_supported")
            && !methods.iter().any(|method| method == "S256")
        {
            return Err("it does without PKCE by S256");
        }
        let address = |member: &str| {
            let found = document.get(member).and_then(Value::as_str)?;
            let is_https = found.parse::<Uri>().ok()?.scheme_str() == Some("https");
            (is_https && found.len() <= LONGEST).then(|| found.to_owned())
        };
        let names = document.get("authorization_response_iss_parameter_supported");
        Ok(Self {
            authorization: address("authorization_endpoint")
                .ok_or("it has no authorization_endpoint of HTTPS")?,
            token: address("token_endpoint").ok_or("it has no token_endpoint of HTTPS")?,
            keys: address("jwks_uri").ok_or("it has no jwks_uri of HTTPS")?,
            userinfo: address("userinfo_endpoint"),
            end: address("end_session_endpoint"),
            names_itself: names == Some(&Value::Bool(true)),
        })
    }
}

const LONGEST: usize = 2048;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://id.example/realms/staff";

    fn read(other: Value) -> Result<Provider, &'static str> {
        let mut document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://id.example/auth",
            "token_endpoint": "https://id.example/token",
            "jwks_uri": "https://id.example/keys",
            "code_challenge_methods_supported": ["plain", "S256"],
        });
        for (member, value) in other.as_object().unwrap() {
            document[member] = value.clone();
        }
        Provider::read(document.to_string().as_bytes(), ISSUER)
    }

    #[test]
    fn a_provider_is_who_the_configuration_names_and_speaks_https() {
        let good = read(json!({})).unwrap();
        assert_eq!((good.end, good.userinfo, good.names_itself), (None, None, false));
        let more = json!({
            "end_session_endpoint": "https://id.example/end",
            "userinfo_endpoint": "http://id.example/me",
            "authorization_response_iss_parameter_supported": true,
        });
        let more = read(more).unwrap();
        assert_eq!(more.end.as_deref(), Some("https://id.example/end"));
        assert_eq!((more.userinfo, more.names_itself), (None, true));
        for wrong in [
            json!({ "issuer": "https://evil.example" }),
            json!({ "issuer": format!("{ISSUER}/") }),
            json!({ "issuer": null }),
            json!({ "authorization_endpoint": "http://id.example/auth" }),
            json!({ "authorization_endpoint": "javascript:alert(1)" }),
            json!({ "authorization_endpoint": "https://id.example/a\nb" }),
            json!({ "token_endpoint": null }),
            json!({ "jwks_uri": "file:///etc/passwd" }),
            json!({ "jwks_uri": format!("https://id.example/{}", "x".repeat(3000)) }),
            json!({ "code_challenge_methods_supported": ["plain"] }),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
        assert!(Provider::read(b"<html>", ISSUER).is_err());
    }

    #[test]
    fn finds_the_document_below_the_issuer() {
        let expected = "https://id.example/realms/staff/.well-known/openid-configuration";
        assert_eq!(address(ISSUER), expected);
        assert_eq!(address("https://id.example/realms/staff/"), expected);
    }
}
