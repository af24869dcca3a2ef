//! The page for Prometheus: a closed list of metrics, with labels from closed enums.
//!
//! The machines count for themselves; a page is made from their counters when somebody asks, so
//! nothing is registered and nothing is counted twice. `docs/metrics.md` lists all of it; a test
//! compares.

mod page;

use crosspoint_state::WriterCounters;

pub(crate) use page::{Kind, Metric, Page};

pub(crate) fn http(page: &mut Page, open: usize, refused: u64) {
    page.value(&HTTP_CONNECTIONS, open as u64);
    page.value(&HTTP_REFUSED, refused);
}

pub(crate) fn store(page: &mut Page, counters: WriterCounters) {
    let WriterCounters { written, dropped, failed } = counters;
    let values = [(["written"], written), (["dropped"], dropped), (["failed"], failed)];
    page.family(&STORE_WRITES, ["outcome"], values);
}

const HTTP_CONNECTIONS: Metric = Metric {
    name: "crosspoint_http_connections",
    kind: Kind::Gauge,
    help: "Open connections of the HTTPS port, WebSockets included.",
};
const HTTP_REFUSED: Metric = Metric {
    name: "crosspoint_http_connections_refused_total",
    kind: Kind::Counter,
    help: "Connections closed at once because a limit was reached.",
};
const STORE_WRITES: Metric = Metric {
    name: "crosspoint_store_writes_total",
    kind: Kind::Counter,
    help: "Call records and bindings handed to the store.",
};
