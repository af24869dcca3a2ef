//! The text form of Prometheus, version 0.0.4.

use std::fmt::Write;

/// A metric as monitoring sees it.
#[derive(Debug)]
pub(crate) struct Metric {
    name: &'static str,
    kind: Kind,
    help: &'static str,
}

#[derive(Debug)]
enum Kind {
    Counter,
    Gauge,
}

pub(super) fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, help }
}

pub(super) fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, help }
}

/// A page while it is written.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// Writes a metric without labels.
    pub(crate) fn value(&mut self, metric: &Metric, value: u64) {
        self.head(metric);
        let _ = writeln!(self.0, "{} {value}", metric.name);
    }

    /// Writes a metric with one value for each set of labels.
    pub(crate) fn family<const N: usize>(
        &mut self,
        metric: &Metric,
        labels: [&str; N],
        values: impl IntoIterator<Item = ([&'static str; N], u64)>,
    ) {
        self.head(metric);
        for (words, value) in values {
            let pair = |(label, word)| format!("{label}=\"{word}\"");
            let pairs: Vec<String> = labels.iter().zip(words).map(pair).collect();
            let _ = writeln!(self.0, "{}{{{}}} {value}", metric.name, pairs.join(","));
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }

    fn head(&mut self, metric: &Metric) {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(self.0, "# HELP {} {}", metric.name, metric.help);
        let _ = writeln!(self.0, "# TYPE {} {kind}", metric.name);
    }
}
