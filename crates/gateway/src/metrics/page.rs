//! The text form of Prometheus, version 0.0.4.

use std::fmt::Write;

use crosspoint_media::shard::{Histogram, Scale};

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
    Histogram,
}

pub(super) fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, help }
}

pub(super) fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, help }
}

pub(super) fn histogram(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, help }
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

    /// Writes a metric with one value for each name of a configured thing: letters, digits and
    /// `. _ - +`.
    pub(crate) fn named<'n>(
        &mut self,
        metric: &Metric,
        label: &str,
        values: impl IntoIterator<Item = (&'n str, u64)>,
    ) {
        self.head(metric);
        for (name, value) in values {
            let _ = writeln!(self.0, "{}{{{label}=\"{name}\"}} {value}", metric.name);
        }
    }

    /// Writes a histogram for each word of one label.
    pub(crate) fn histograms<'h>(
        &mut self,
        metric: &Metric,
        label: &str,
        scale: &Scale,
        values: impl IntoIterator<Item = (&'static str, &'h Histogram)>,
    ) {
        self.head(metric);
        let name = metric.name;
        let one = f64::from(scale.per_one);
        for (word, histogram) in values {
            let mut count = 0;
            // The last count has no border of its own.
            let borders = scale.borders.iter().map(|b| (*b as f64 / one).to_string());
            let borders = borders.chain(["+Inf".to_owned()]);
            for (border, more) in borders.zip(histogram.counts) {
                count += more;
                let labels = format!("{label}=\"{word}\",le=\"{border}\"");
                let _ = writeln!(self.0, "{name}_bucket{{{labels}}} {count}");
            }
            let sum = histogram.sum as f64 / one;
            let _ = writeln!(self.0, "{name}_sum{{{label}=\"{word}\"}} {sum}");
            let _ = writeln!(self.0, "{name}_count{{{label}=\"{word}\"}} {count}");
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }

    fn head(&mut self, metric: &Metric) {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.0, "# HELP {} {}", metric.name, metric.help);
        let _ = writeln!(self.0, "# TYPE {} {kind}", metric.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let mut page = Page::default();
        let scale = Scale { borders: [0, 10, 20, 30, 40, 50, 60, 250], per_one: 100 };
        let histogram = Histogram { counts: [1, 0, 2, 0, 0, 0, 0, 1, 3], sum: 1234 };
        page.histograms(&super::histogram("test", "A test."), "leg", &scale, [("rtp", &histogram)]);
        let text = page.into_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "# TYPE test histogram");
        assert_eq!(lines[2], "test_bucket{leg=\"rtp\",le=\"0\"} 1");
        assert_eq!(lines[4], "test_bucket{leg=\"rtp\",le=\"0.2\"} 3");
        assert_eq!(lines[9], "test_bucket{leg=\"rtp\",le=\"2.5\"} 4");
        assert_eq!(lines[10], "test_bucket{leg=\"rtp\",le=\"+Inf\"} 7");
        assert_eq!(lines[11..], ["test_sum{leg=\"rtp\"} 12.34", "test_count{leg=\"rtp\"} 7"]);
    }
}
