//! Who sends a request: by name and password, by a token, or by the cookie of the console.

use axum::http::header::{AUTHORIZATION, COOKIE, ORIGIN};
use axum::http::{HeaderMap, Method, Uri};
use crosspoint_base::Secret;

use super::answer::Realm;
use super::endpoint::Endpoint;
use super::{Api, request};
use crate::http::Arrival;
use crate::permissions::{Action, Principal};
use crate::provisioning::{Refusal, Shown};

impl Api {
    /// Nobody, where nobody need be anybody; and where nothing was shown that proves anything.
    pub(super) async fn who(
        &self,
        endpoint: &Endpoint,
        arrival: &Arrival,
        (method, uri): (&Method, &Uri),
        headers: &HeaderMap,
    ) -> Result<Option<Principal>, Refusal> {
        if endpoint.needs == Action::Open {
            // Nobody is signed in as somebody else by a page of another site.
            return if is_of_our_page(headers, uri) { Ok(None) } else { Err(OTHER_PAGE) };
        }
        let (provisioning, realm) = (&self.provisioning, Realm::of(endpoint.path));
        let has_authorization = headers.contains_key(AUTHORIZATION);
        let staff = match (has_authorization, realm) {
            (true, Realm::Operators | Realm::Provisioning) => match request::bearer(headers) {
                Some(token) => match provisioning.sign_in_admin(arrival.remote.ip(), &token) {
                    Err(Refusal::NoAdmin) if matches!(realm, Realm::Provisioning) => None,
                    signed_in => return signed_in.map(Some),
                },
                None => None,
            },
            (true, Realm::Users) => None,
            (false, _) => match shown(headers, method) {
                Some(_) if !is_of_our_page(headers, uri) => {
                    return Err(OTHER_PAGE);
                }
                Some(shown) => provisioning.operator_at(&shown).await?,
                None => None,
            },
        };
        if let Some(staff) = staff {
            return Ok(Some(Principal::Staff(staff)));
        }
        let login = request::credentials(headers, arrival);
        match realm {
            Realm::Operators if provisioning.has_operators().await => Ok(None),
            Realm::Operators => Err(Refusal::NoAdmin),
            Realm::Provisioning if !provisioning.is_open() => Err(Refusal::Closed),
            Realm::Provisioning => match login {
                Some(login) => provisioning.sign_in(login).await.map(Some),
                None => Ok(None),
            },
            Realm::Users => match login {
                Some(login) => Ok(Some(Principal::User(provisioning.sign_in_user(login).await?))),
                None => Ok(None),
            },
        }
    }
}

/// What the console of a browser shows: its cookie, and for changes what only our page can read.
pub(super) fn shown(headers: &HeaderMap, method: &Method) -> Option<Shown> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let csrf = header(CSRF).filter(|csrf| csrf.len() <= LONGEST);
    Some(Shown {
        token: cookie(headers, COOKIE_NAME)?,
        csrf: csrf.map(|csrf| Secret::new(csrf.to_owned())),
        is_change: *method != Method::GET,
        is_used: header(REFRESHES).is_none(),
    })
}

pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<Secret<String>> {
    let mut pairs = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let found = pairs.find(|(found, _)| *found == name)?;
    (found.1.len() <= LONGEST).then(|| Secret::new(found.1.to_owned()))
}

/// Whether a page of ours sends this: others may be allowed to use what is here, but not in the
/// name of who has signed in at the console.
pub(super) fn is_of_our_page(headers: &HeaderMap, uri: &Uri) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let page = origin.to_str().ok().and_then(|text| text.split_once("://")).map(|(_, host)| host);
    let host = super::host_of(headers, uri);
    matches!((page, host), (Some(page), Some(host)) if page.eq_ignore_ascii_case(&host))
}

/// The prefix has browsers take it only over TLS, for our host alone (RFC 6265bis §4.1.3.2).
pub(super) const COOKIE_NAME: &str = "__Host-crosspoint";
const OTHER_PAGE: Refusal = Refusal::Forbidden("only our own pages may use the console");
const CSRF: &str = "x-crosspoint-csrf";
/// Of requests that a page makes by itself: they keep nobody signed in.
const REFRESHES: &str = "x-crosspoint-refresh";
const LONGEST: usize = 128;

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::http::header::HOST;

    use super::*;

    #[test]
    fn finds_the_cookie_among_others() {
        let mut headers = HeaderMap::new();
        assert!(shown(&headers, &Method::GET).is_none());
        headers.append(COOKIE, HeaderValue::from_static("a=b; x__Host-crosspoint=no"));
        assert!(shown(&headers, &Method::GET).is_none());
        headers.append(COOKIE, HeaderValue::from_static("c=d;__Host-crosspoint=abc"));
        let get = shown(&headers, &Method::GET).unwrap();
        assert_eq!((get.token.expose().as_str(), get.is_change), ("abc", false));
        assert!(get.is_used && get.csrf.is_none());
        headers.insert(CSRF, HeaderValue::from_static("c"));
        headers.insert(REFRESHES, HeaderValue::from_static("1"));
        let post = shown(&headers, &Method::POST).unwrap();
        assert!(post.is_change && !post.is_used && post.csrf.is_some());
        headers.insert(
            COOKIE,
            HeaderValue::from_str(&format!("{COOKIE_NAME}={}", "a".repeat(200))).unwrap(),
        );
        assert!(shown(&headers, &Method::GET).is_none());
    }

    #[test]
    fn a_page_of_another_host_is_not_ours() {
        let uri = |host: &str| Uri::try_from(format!("https://{host}/")).unwrap();
        let mut headers = HeaderMap::new();
        assert!(is_of_our_page(&headers, &uri("gw:8443")), "no page at all");
        headers.insert(ORIGIN, HeaderValue::from_static("https://gw:8443"));
        assert!(is_of_our_page(&headers, &uri("GW:8443")));
        assert!(!is_of_our_page(&headers, &uri("gw")));
        assert!(!is_of_our_page(&headers, &Uri::from_static("/")));
        headers.insert(HOST, HeaderValue::from_static("gw"));
        assert!(!is_of_our_page(&headers, &uri("gw:8443")), "the header goes before");
        headers.insert(ORIGIN, HeaderValue::from_static("null"));
        headers.remove(HOST);
        assert!(!is_of_our_page(&headers, &uri("gw:8443")));
    }
}
