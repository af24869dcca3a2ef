//! What terminals and we say to each other, without the wire's form.

use crosspoint_base::Private;

/// One `WebTerminalMessage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// A UUID in its text form; empty where the protocol does not ask for one.
    pub call: String,
    pub body: Body,
}

/// The message's `oneof`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing is set: clients send it to keep their stream busy.
    Empty,
    Offer {
        sdp: Private<String>,
        /// Whom to call, or who calls; it may be absent where the call is known.
        number: Option<Private<String>>,
    },
    Answer {
        sdp: Private<String>,
    },
    Ringing,
    Bye,
    /// No call of the subscriber runs elsewhere any more.
    Idle,
    /// A call of the subscriber runs elsewhere.
    InCall {
        /// The other party's.
        number: Private<String>,
    },
    Error(Fault),
    /// The call should go on at the subscriber's phone.
    ToPhone,
}

/// `Error.Code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Unknown,
    /// There is no call to do this with.
    NotInCall,
    TryAgain,
    /// No call of this terminal has the id, or it is no UUID.
    InvalidCallId,
    RateLimitHit,
}

/// Which of the two methods opened a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One call at a time, whose id nobody looks at.
    Pipe,
    /// Many calls, told apart by their ids.
    MultiPipe,
}
