//! Header names: known ones as a small tag, others as the bytes they came in.

use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;

#[derive(Clone, PartialEq, Eq, Hash)]
enum Kind {
    Known(u8),
    Other(Bytes),
}

/// A header name. Comparison ignores case and folds compact forms (RFC 3261 §7.3.3).
#[derive(Clone)]
pub struct HeaderName(Kind);

macro_rules! names {
    ($($index:literal $constant:ident $text:literal $compact:expr;)*) => {
        impl HeaderName {
            $(pub const $constant: Self = Self(Kind::Known($index));)*
        }

        const KNOWN: &[(&str, Option<u8>)] = &[$(($text, $compact),)*];
    };
}

names! {
    0 VIA "Via" Some(b'v');
    1 FROM "From" Some(b'f');
    2 TO "To" Some(b't');
    3 CALL_ID "Call-ID" Some(b'i');
    4 CSEQ "CSeq" None;
    5 CONTACT "Contact" Some(b'm');
    6 ROUTE "Route" None;
    7 RECORD_ROUTE "Record-Route" None;
    8 MAX_FORWARDS "Max-Forwards" None;
    9 CONTENT_TYPE "Content-Type" Some(b'c');
    10 CONTENT_LENGTH "Content-Length" Some(b'l');
    11 EXPIRES "Expires" None;
    12 MIN_EXPIRES "Min-Expires" None;
    13 AUTHORIZATION "Authorization" None;
    14 PROXY_AUTHORIZATION "Proxy-Authorization" None;
    15 WWW_AUTHENTICATE "WWW-Authenticate" None;
    16 PROXY_AUTHENTICATE "Proxy-Authenticate" None;
    17 ALLOW "Allow" None;
    18 SUPPORTED "Supported" Some(b'k');
    19 REQUIRE "Require" None;
    20 UNSUPPORTED "Unsupported" None;
    21 SESSION_EXPIRES "Session-Expires" Some(b'x');
    22 MIN_SE "Min-SE" None;
    23 RSEQ "RSeq" None;
    24 RACK "RAck" None;
    25 REFER_TO "Refer-To" Some(b'r');
    26 REFERRED_BY "Referred-By" Some(b'b');
    27 REPLACES "Replaces" None;
    28 EVENT "Event" Some(b'o');
    29 SUBSCRIPTION_STATE "Subscription-State" None;
    30 PATH "Path" None;
    31 SERVICE_ROUTE "Service-Route" None;
    32 REASON "Reason" None;
    33 RETRY_AFTER "Retry-After" None;
    34 USER_AGENT "User-Agent" None;
    35 SERVER "Server" None;
    36 WARNING "Warning" None;
    37 P_ASSERTED_IDENTITY "P-Asserted-Identity" None;
    38 PRIVACY "Privacy" None;
    39 FLOW_TIMER "Flow-Timer" None;
    40 ACCEPT "Accept" None;
    41 SUBJECT "Subject" Some(b's');
    42 CONTENT_ENCODING "Content-Encoding" Some(b'e');
    43 ALLOW_EVENTS "Allow-Events" Some(b'u');
    44 PROXY_REQUIRE "Proxy-Require" None;
    45 CONTENT_DISPOSITION "Content-Disposition" None;
    46 INFO_PACKAGE "Info-Package" None;
    47 RECV_INFO "Recv-Info" None;
    48 DATE "Date" None;
    49 TIMESTAMP "Timestamp" None;
    50 MIME_VERSION "MIME-Version" None;
    51 REFER_SUB "Refer-Sub" None;
    52 IDENTITY "Identity" Some(b'y');
}

impl HeaderName {
    /// Takes any token; the bytes of an unknown name are kept as they are.
    #[must_use]
    pub fn parse(bytes: Bytes) -> Option<Self> {
        Self::parse_in(&bytes, &bytes)
    }

    /// The same for a part of `whole`; only an unknown name takes a share of it.
    pub(super) fn parse_in(whole: &Bytes, name: &[u8]) -> Option<Self> {
        match known(name) {
            Some(index) => Some(Self(Kind::Known(index))),
            None => super::parse::is_token(name).then(|| Self(Kind::Other(whole.slice_ref(name)))),
        }
    }

    /// A name that is not among the constants.
    #[must_use]
    pub fn other(name: &'static str) -> Self {
        Self::parse(Bytes::from_static(name.as_bytes()))
            .unwrap_or(Self(Kind::Other(Bytes::from_static(b"X-Invalid"))))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Kind::Known(index) => KNOWN[usize::from(*index)].0.as_bytes(),
            Kind::Other(bytes) => bytes,
        }
    }
}

fn known(bytes: &[u8]) -> Option<u8> {
    if let [letter] = bytes {
        let letter = letter.to_ascii_lowercase();
        if let Some(index) = KNOWN.iter().position(|(_, compact)| *compact == Some(letter)) {
            return u8::try_from(index).ok();
        }
    }
    let alike = BY_LENGTH.get(bytes.len())?;
    let alike = || alike.iter().copied().take_while(|index| *index != NONE);
    let name = |index: u8| KNOWN[usize::from(index)].0.as_bytes();
    // As nearly everybody writes it, which takes one comparison of a few bytes.
    let exact = alike().find(|index| name(*index) == bytes);
    exact.or_else(|| alike().find(|index| name(*index).eq_ignore_ascii_case(bytes)))
}

/// The known names of each length.
const BY_LENGTH: [[u8; SAME_LENGTH]; LONGEST + 1] = by_length();
const NONE: u8 = u8::MAX;
const LONGEST: usize = 24;
/// So many names of one length there are, and one to spare: the compiler checks.
const SAME_LENGTH: usize = 10;

const fn by_length() -> [[u8; SAME_LENGTH]; LONGEST + 1] {
    let mut table = [[NONE; SAME_LENGTH]; LONGEST + 1];
    let mut index = 0;
    while index < KNOWN.len() {
        let length = KNOWN[index].0.len();
        let mut place = 0;
        while table[length][place] != NONE {
            place += 1;
        }
        table[length][place] = index as u8;
        index += 1;
    }
    table
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kind::Known(a), Kind::Known(b)) => a == b,
            (Kind::Other(a), Kind::Other(b)) => a.eq_ignore_ascii_case(b),
            (Kind::Known(_), Kind::Other(_)) | (Kind::Other(_), Kind::Known(_)) => false,
        }
    }
}

impl Eq for HeaderName {}

impl Hash for HeaderName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.as_bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}
