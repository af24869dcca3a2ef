//! Request methods: an open set (RFC 3261 §7.1), known ones without allocation.

use std::fmt;

use bytes::Bytes;

macro_rules! methods {
    ($($name:ident),* $(,)?) => {
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(clippy::upper_case_acronyms, reason = "methods are written so")]
        enum Kind {
            $($name,)*
            Other(Bytes),
        }

        #[allow(non_upper_case_globals, reason = "the macro's own name for a variant")]
        impl Method {
            $(pub const $name: Self = Self(Kind::$name);)*

            /// Takes any token; `None` when it is not one.
            #[must_use]
            pub fn parse(token: &Bytes) -> Option<Self> {
                $(if token.as_ref() == stringify!($name).as_bytes() {
                    return Some(Self::$name);
                })*
                super::parse::is_token(token).then(|| Self(Kind::Other(token.clone())))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                match &self.0 {
                    $(Kind::$name => stringify!($name),)*
                    // A token is ASCII by the check above.
                    Kind::Other(bytes) => std::str::from_utf8(bytes).unwrap_or("?"),
                }
            }
        }
    };
}

/// A request method. Methods are case-sensitive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(Kind);

methods!(
    INVITE, ACK, BYE, CANCEL, REGISTER, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY, SUBSCRIBE,
    MESSAGE, PUBLISH,
);

impl Method {
    /// True for the methods of RFC 3261 and its extensions that we know by name.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self.0, Kind::Other(_))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
