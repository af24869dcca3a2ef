//! `[grpc]`: whose tokens open streams of the call API.

use std::path::Path;

use crosspoint_base::Secret;
use jsonwebtoken::jwk::JwkSet;

use super::reader::Section;
use super::sections::file_beside;
use super::{CallApi, FixedToken, Introspection, Issuer, IssuerKeys};
use super::{admin, login};

pub(super) fn read(root: &Section<'_>, folder: &Path) -> CallApi {
    let mut call_api = root.section("grpc").map_or_else(CallApi::default, |section| {
        let call_api = issuers(&section, folder);
        section.finish();
        call_api
    });
    call_api.tokens = tokens(root, folder);
    call_api
}

fn issuers(section: &Section<'_>, folder: &Path) -> CallApi {
    let scope = section.string("scope").map_or_else(|| SCOPE.to_owned(), |scope| scope.value);
    let clients = section.strings("clients").unwrap_or_default();
    CallApi {
        tokens: Vec::new(),
        issuer: issuer(section, folder),
        introspection: introspection(section, folder),
        scope: Some(scope).filter(|scope| !scope.is_empty()),
        number_claim: section
            .string("number_claim")
            .map_or_else(|| NUMBER_CLAIM.to_owned(), |claim| claim.value),
        clients: clients.into_iter().map(|client| client.value).collect(),
        allow: super::turn::networks(section),
    }
}

impl Default for CallApi {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            issuer: None,
            introspection: None,
            scope: Some(SCOPE.to_owned()),
            number_claim: NUMBER_CLAIM.to_owned(),
            clients: Vec::new(),
            allow: Vec::new(),
        }
    }
}

fn tokens(root: &Section<'_>, folder: &Path) -> Vec<FixedToken> {
    let mut tokens = Vec::new();
    for section in root.sections("grpc_token") {
        let number = section.string("number").map(|number| number.value);
        let any = section.boolean("any_number").unwrap_or(false);
        if number.is_some() == any {
            let message = "a token is one number's, or names its number itself";
            let remedy = "write number = \"+4799000001\", or any_number = true for a server that \
                          speaks for all";
            section.document().complain_about(&section.here(), message, remedy);
        }
        if !section.has("token_file") && !section.has("token_env") {
            let remedy = "write token_file or token_env, one of the two";
            let message = "the token itself is missing";
            section.document().complain_about(&section.here(), message, remedy);
        }
        let token = admin::token(&section, folder);
        section.finish();
        tokens.extend(token.map(|token| FixedToken { token, number }));
    }
    tokens
}

fn issuer(section: &Section<'_>, folder: &Path) -> Option<Issuer> {
    let (name, audience) = (section.string("issuer"), section.string("audience"));
    let keys = section.string("keys");
    if name.is_none() && audience.is_none() && keys.is_none() {
        return None;
    }
    let name = section.required("issuer", "issuer = \"https://id.example.com/\"", name)?;
    let audience = section.required("audience", "audience = \"crosspoint\"", audience)?;
    let example = "keys = \"https://id.example.com/.well-known/jwks.json\"";
    let keys = section.required("keys", example, keys)?;
    let keys = if keys.value.starts_with("https://") {
        IssuerKeys::At(keys.value)
    } else {
        let (_, text) = file_beside(section, folder, &keys)?;
        match serde_json::from_str::<JwkSet>(&text) {
            Ok(set) => IssuerKeys::Known(set),
            Err(error) => {
                let message = format!("it holds no set of keys (RFC 7517 §5): {error}");
                let remedy = "write the file that the issuer publishes, or its https:// address";
                section.document().complain_about(&keys, message, remedy);
                return None;
            }
        }
    };
    Some(Issuer { name: name.value, audience: audience.value, keys })
}

fn introspection(section: &Section<'_>, folder: &Path) -> Option<Introspection> {
    let address = section.string("introspection_url");
    let client = section.string("introspection_client");
    let (file, variable) = ("introspection_secret_file", "introspection_secret_env");
    let has_secret = section.has(file) || section.has(variable);
    if address.is_none() && client.is_none() && !has_secret {
        return None;
    }
    let example = "introspection_url = \"https://id.example.com/oauth2/introspect\"";
    let address = section.required("introspection_url", example, address)?;
    let client = section.required(
        "introspection_client",
        "introspection_client = \"crosspoint\"",
        client,
    )?;
    if !address.value.starts_with("https://") {
        let remedy = "tokens are told to it: write an https:// address";
        section.document().complain_about(&address, "this is no address of HTTPS", remedy);
    }
    if !has_secret {
        let remedy = "add introspection_secret_file = \"introspection.secret\"";
        section.document().complain_about(&address, "there is no secret with it", remedy);
    }
    let secret = Secret::new(login::secret(section, folder, file, variable)?);
    Some(Introspection { address: address.value, client: client.value, secret })
}

/// What the public service asks for.
const SCOPE: &str = "call.control.answer_and_initiate";
const NUMBER_CLAIM: &str = "msisdn";
