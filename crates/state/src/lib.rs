//! What must outlive the process: users, bindings of desk phones, call records, what apps are
//! provisioned with, operators, and what they changed.
//!
//! Everything goes through the [`Store`] trait; [`SqliteStore`] is the embedded implementation and
//! [`MemoryStore`] the one for tests and simulations. The signalling thread never waits for a
//! disk: it hands [`Write`]s to a [`Writer`].
//!
//! Not here: what a binding's record says (`sip::registrar`) and who may call whom (`call`).

mod ban;
mod binding;
mod cdr;
mod memory;
mod operator;
mod postgres;
pub mod provisioning;
mod sqlite;
mod store;
mod text;
mod user;
mod writer;

pub use crate::postgres::{Forwarder, PostgresConfig, PostgresCounters, PostgresRecords};
pub use ban::BanRow;
pub use binding::BindingRow;
pub use cdr::{Cdr, CdrFilter, LegFigures, VideoFigures};
pub use memory::MemoryStore;
pub use operator::{AuditBounds, AuditEntry, AuditFilter, Operator, Operators};
pub use provisioning::{
    Account, App, ClientSession, FullSession, Kind, Network, Object, Owner, Part, Provisioning,
    Source, TokenHash, Within,
};
pub use sqlite::SqliteStore;
pub use store::{Store, StoreError, Write};
pub use text::TextRow;
pub use user::{Credentials, Forwarding, NameError, User, UserName};
pub use writer::{Writer, WriterCounters, WriterHandle};
