//! A registration that a restart must not lose.

/// One persisted binding of a user. What it says belongs to the registrar and is opaque here.
///
/// Only bindings that can still be reached after a restart are worth a row: UDP and TCP contacts
/// with an address of their own, not those that live on a connection.
#[derive(Clone, PartialEq, Eq)]
pub struct BindingRow {
    /// The user it belongs to.
    pub aor: String,
    /// Tells this binding from the user's others.
    pub key: String,
    /// Unix seconds after which the row means nothing.
    pub expires_at: i64,
    /// The registrar's own record, as text.
    pub record: String,
}

/// Hides the record: it carries addresses of people.
impl std::fmt::Debug for BindingRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BindingRow").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}
