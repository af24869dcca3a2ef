//! What a user's devices say of it themselves: PUBLISH (RFC 3903) of presence (RFC 3863, RFC 4480).
//!
//! Each publication has an entity-tag that is another after every change. Of a document only what
//! watchers can be shown safely is kept: whether it is open, activities of a closed list, a note.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{Flow, Private, Rng, TimerTable};
use crosspoint_call::Published;
use crosspoint_sip::endpoint::ServerKey;
use crosspoint_sip::{HeaderName, Request, Response, StatusCode};

use super::auth::Sender;
use super::{Output, SipUa};

/// Everything that is published.
#[derive(Debug, Default)]
pub(super) struct Publications {
    /// By user and entity-tag.
    all: BTreeMap<(Arc<str>, String), Published>,
    expiry: TimerTable<(Arc<str>, String)>,
}

/// What a PUBLISH asks for.
enum Wish {
    Begin(Published),
    Change(String, Published),
    Refresh(String),
    Remove(String),
}

impl Publications {
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.expiry.next()
    }

    fn of<'p>(&'p self, user: &'p str) -> impl Iterator<Item = &'p Published> {
        self.all.iter().filter(move |((owner, _), _)| **owner == *user).map(|(_, said)| said)
    }

    fn has(&self, user: &Arc<str>, tag: &str) -> bool {
        self.all.contains_key(&(user.clone(), tag.to_owned()))
    }

    fn remove(&mut self, user: &Arc<str>, tag: &str) -> Option<Published> {
        let key = (user.clone(), tag.to_owned());
        self.expiry.cancel(&key);
        self.all.remove(&key)
    }

    fn insert(
        &mut self,
        user: &Arc<str>,
        said: Published,
        until: Instant,
        rng: &mut Rng,
    ) -> String {
        let tag = rng.hex(8);
        let key = (user.clone(), tag.clone());
        self.expiry.set(key.clone(), until);
        self.all.insert(key, said);
        tag
    }

    pub(super) fn forget_user(&mut self, user: &str) {
        let gone: Vec<_> = self.all.keys().filter(|(owner, _)| **owner == *user).cloned().collect();
        for (owner, tag) in gone {
            self.remove(&owner, &tag);
        }
    }
}

impl SipUa {
    /// What a user's devices say of it.
    #[must_use]
    pub fn published_of(&self, user: &str) -> Vec<Published> {
        if self.publications.all.is_empty() {
            return Vec::new();
        }
        self.publications.of(user).cloned().collect()
    }

    pub(super) fn publish_arrived(
        &mut self,
        now: Instant,
        key: ServerKey,
        flow: &Flow,
        request: &Request,
    ) {
        let Some(sender) = self.authenticate(now, key, flow, request) else { return };
        let Sender::User(user) = sender else {
            return self.refuse(now, key, request, StatusCode::FORBIDDEN);
        };
        // RFC 3903 §6: who is spoken of must be who speaks.
        if request.uri.user_decoded().as_deref() != Some(&*user) {
            return self.refuse(now, key, request, StatusCode::FORBIDDEN);
        }
        let wish = match self.publication_wish(&user, request) {
            Ok(wish) => wish,
            Err(status) => return self.refuse_publication(now, key, request, status),
        };
        let lifetime = Duration::from_secs(expires(request).into());
        let until = now + lifetime;
        let (rng, all) = (&mut self.rng, &mut self.publications);
        let (tag, is_news) = match wish {
            Wish::Begin(said) => (all.insert(&user, said, until, rng), true),
            Wish::Change(old, said) => {
                let is_news = all.remove(&user, &old).as_ref() != Some(&said);
                (all.insert(&user, said, until, rng), is_news)
            }
            Wish::Refresh(old) => {
                let said = all.remove(&user, &old).unwrap_or_default();
                (all.insert(&user, said, until, rng), false)
            }
            Wish::Remove(old) => {
                all.remove(&user, &old);
                (old, true)
            }
        };
        let mut response = Response::for_request(request, StatusCode::OK);
        self.tag(&mut response);
        response.headers.push(HeaderName::other(SIP_ETAG), tag);
        response.headers.push(HeaderName::EXPIRES, lifetime.as_secs().to_string());
        self.respond(now, key, &mut response);
        if is_news {
            self.outputs.push_back(Output::Published(user));
        }
    }

    fn publication_wish(&self, user: &Arc<str>, request: &Request) -> Result<Wish, StatusCode> {
        let event = request.headers.first(&HeaderName::EVENT);
        let event = event.and_then(|e| e.split(|b| *b == b';').next().map(<[u8]>::trim_ascii));
        if !event.is_some_and(|event| event.eq_ignore_ascii_case(b"presence")) {
            return Err(StatusCode::BAD_EVENT);
        }
        let tag = request.headers.first(&HeaderName::other(SIP_IF_MATCH));
        let tag = tag.map(|tag| String::from_utf8_lossy(tag.trim_ascii()).into_owned());
        // RFC 3903 §6 step 3: a tag that is not known is that of a publication that is over.
        if tag.as_ref().is_some_and(|tag| !self.publications.has(user, tag)) {
            return Err(StatusCode::CONDITIONAL_REQUEST_FAILED);
        }
        let asked = expires(request);
        if asked == 0 {
            return tag.map(Wish::Remove).ok_or(StatusCode::BAD_REQUEST);
        }
        if asked < MIN_EXPIRES {
            return Err(StatusCode::INTERVAL_TOO_BRIEF);
        }
        if request.body.is_empty() {
            return tag.map(Wish::Refresh).ok_or(StatusCode::BAD_REQUEST);
        }
        let kind = request.headers.first(&HeaderName::CONTENT_TYPE);
        let kind = kind.and_then(|k| k.split(|b| *b == b';').next().map(<[u8]>::trim_ascii));
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case(PIDF.as_bytes())) {
            return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        if request.body.len() > MAX_DOCUMENT {
            return Err(StatusCode::REQUEST_ENTITY_TOO_LARGE);
        }
        let said = read(&request.body).ok_or(StatusCode::BAD_REQUEST)?;
        match tag {
            Some(tag) => Ok(Wish::Change(tag, said)),
            None if self.publications.of(user).count() >= MAX_PER_USER
                || self.publications.all.len() >= MAX_PUBLICATIONS =>
            {
                Err(StatusCode::SERVICE_UNAVAILABLE)
            }
            None => Ok(Wish::Begin(said)),
        }
    }

    fn refuse_publication(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Request,
        status: StatusCode,
    ) {
        let mut response = Response::for_request(request, status);
        self.tag(&mut response);
        if status == StatusCode::BAD_EVENT {
            response.headers.push(HeaderName::ALLOW_EVENTS, "presence");
        } else if status == StatusCode::INTERVAL_TOO_BRIEF {
            response.headers.push(HeaderName::MIN_EXPIRES, MIN_EXPIRES.to_string());
        } else if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            response.headers.push(HeaderName::ACCEPT, PIDF);
        }
        self.respond(now, key, &mut response);
    }

    /// Publications that nobody has refreshed are over.
    pub(super) fn publications_due(&mut self, now: Instant) {
        while let Some((user, tag)) = self.publications.expiry.pop_due(now) {
            self.publications.remove(&user, &tag);
            self.outputs.push_back(Output::Published(user));
        }
    }
}

fn expires(request: &Request) -> u32 {
    request.headers.expires().unwrap_or(MAX_EXPIRES).min(MAX_EXPIRES)
}

/// What a document says, as far as watchers are shown it; `None` for what is none.
fn read(body: &Bytes) -> Option<Published> {
    let text = std::str::from_utf8(body).ok()?;
    let mut said = Published::default();
    let mut is_presence = false;
    for (name, rest) in elements(text) {
        let content = || unescaped(rest.split('<').next().unwrap_or_default().trim());
        match name {
            "presence" => is_presence = true,
            // Of several tuples the one that can be reached counts.
            "basic" => match content().as_str() {
                "open" => said.is_open = Some(true),
                "closed" => said.is_open = Some(said.is_open.unwrap_or(false)),
                _ => {}
            },
            "note" if said.note.is_none() => {
                let note: String = content().chars().take(MAX_NOTE).collect();
                said.note = Some(note).filter(|note| !note.is_empty()).map(Private);
            }
            name => {
                let known = ACTIVITIES.iter().find(|known| **known == name);
                if let Some(known) = known.filter(|known| !said.activities.contains(known)) {
                    said.activities.push(known);
                }
            }
        }
    }
    is_presence.then_some(said)
}

/// The local names of elements that begin, each with what follows it.
fn elements(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('<').skip(1).zip(0..MAX_ELEMENTS).filter_map(|(piece, _)| {
        let (tag, rest) = piece.split_once('>')?;
        let name = tag.split([' ', '\t', '\r', '\n', '/']).next()?;
        let local = name.rsplit(':').next()?;
        (!local.is_empty()).then_some((local, rest))
    })
}

fn unescaped(text: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

const SIP_ETAG: &str = "SIP-ETag";
const SIP_IF_MATCH: &str = "SIP-If-Match";
const PIDF: &str = "application/pidf+xml";
const MIN_EXPIRES: u32 = 60;
const MAX_EXPIRES: u32 = 3600;
const MAX_DOCUMENT: usize = 8 * 1024;
const MAX_ELEMENTS: usize = 200;
/// Of a note, in characters.
const MAX_NOTE: usize = 200;
/// As many as a user has devices.
const MAX_PER_USER: usize = 8;
const MAX_PUBLICATIONS: usize = 50_000;
/// RFC 4480 §3.2.
const ACTIVITIES: [&str; 20] = [
    "appointment",
    "away",
    "breakfast",
    "busy",
    "dinner",
    "holiday",
    "in-transit",
    "lunch",
    "meal",
    "meeting",
    "on-the-phone",
    "performance",
    "permanent-absence",
    "presentation",
    "sleeping",
    "steering",
    "travel",
    "tv",
    "vacation",
    "working",
];
