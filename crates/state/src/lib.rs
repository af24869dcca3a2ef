//! What must outlive the process: users, bindings of desk phones, call records, and what apps are
//! provisioned with.
//!
//! Everything goes through the [`Store`] trait; [`SqliteStore`] is the embedded implementation and
//! [`MemoryStore`] the one for tests and simulations. The signalling thread never waits for a
//! disk: it hands [`Write`]s to a [`Writer`].
//!
//! Not here: what a binding's record says (`sip::registrar`) and who may call whom (`call`).

mod binding;
mod cdr;
mod memory;
pub mod provisioning;
mod sqlite;
mod store;
mod user;
mod writer;

pub use binding::BindingRow;
pub use cdr::{Cdr, CdrFilter, LegFigures};
pub use memory::MemoryStore;
pub use provisioning::{
    Account, App, ClientSession, FullSession, Kind, Network, Object, Owner, Part, Provisioning,
    Source, TokenHash, Within,
};
pub use sqlite::SqliteStore;
pub use store::{Store, StoreError, Write};
pub use user::{Credentials, NameError, User, UserName};
pub use writer::{Writer, WriterCounters, WriterHandle};
