//! A text that came in, with the room it takes.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// What one message said. Dropping it makes room for others.
pub struct AppText {
    text: Utf8Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl AppText {
    /// Waits until there is room for it.
    pub(super) async fn new(text: Utf8Bytes, room: &Arc<Semaphore>) -> Self {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let permit = room.clone().acquire_many_owned(length).await.ok();
        Self { text, _room: permit }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text.as_str()
    }
}

impl Deref for AppText {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

/// Hides the text: it carries tokens and names of people.
impl fmt::Debug for AppText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[text of {} bytes]", self.text.len())
    }
}
