//! Routes, found by the beginning of a number.
//!
//! However many routes there are, a decision looks at those alone whose prefix the number begins
//! with: one look-up in a sorted table for each length that a prefix may have. Patterns are tried
//! on these only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Causes, Hours, Rewrite};
use crate::Playback;

/// Where a route or an overflow leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Trunk(Arc<str>),
    User(Arc<str>),
    Group(Arc<str>),
    Builtin(Playback),
    /// Another number, found like a dialled one.
    Number(String),
    /// Nowhere: the call is refused.
    Refuse,
}

/// A rule for numbers.
#[derive(Debug, Clone)]
pub struct Route {
    pub name: Arc<str>,
    /// The number has no more digits than the prefix.
    pub exact: bool,
    /// Lower goes first.
    pub priority: u32,
    /// For a minute, in millionths of a currency. Of equal priority the cheapest goes first.
    pub price: Option<u64>,
    /// Only for calls of these users. With no user and no trunk named, a route to a trunk is for
    /// users and any other is for everybody.
    pub from_users: BTreeSet<String>,
    /// Only for calls that came over these trunks.
    pub from_trunks: BTreeSet<String>,
    /// Only within (or, where false, outside) these hours.
    pub hours: Option<(Arc<Hours>, bool)>,
    pub rewrite: Rewrite,
    /// Shown to the called side instead of the caller's own number.
    pub caller_id: Option<String>,
    /// Tried in this order.
    pub to: Vec<Destination>,
    /// After which failures the next place is tried; absent: what fits the place.
    pub go_on: Option<Causes>,
}

impl Route {
    /// For every number of its prefixes, by everybody, at any time.
    #[must_use]
    pub fn plain(name: &str, to: Vec<Destination>) -> Self {
        Self {
            name: name.into(),
            exact: false,
            priority: 10,
            price: None,
            from_users: BTreeSet::new(),
            from_trunks: BTreeSet::new(),
            hours: None,
            rewrite: Rewrite::default(),
            caller_id: None,
            to,
            go_on: None,
        }
    }

    /// Whether all it leads to is trunks, so that it can follow another route's failure.
    #[must_use]
    pub fn is_outward(&self) -> bool {
        self.to.iter().all(|to| matches!(to, Destination::Trunk(_)))
    }
}

/// All routes, by prefix. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct RouteTable(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    routes: Vec<Arc<Route>>,
    by_prefix: BTreeMap<Box<str>, Vec<Entry>>,
    longest: usize,
    prefixes: usize,
}

/// One prefix of a route; a list of rates gives each a price of its own.
#[derive(Debug, Clone, Copy)]
struct Entry {
    route: u32,
    price: Option<u64>,
}

/// A route that a number fits.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub route: Arc<Route>,
    pub prefix: String,
    pub price: Option<u64>,
    /// In the order of the configuration.
    pub index: usize,
}

impl RouteTable {
    /// Routes in their order, each with its prefixes; a prefix may have a price of its own.
    pub fn new(routes: impl IntoIterator<Item = (Route, Vec<(String, Option<u64>)>)>) -> Self {
        let mut inner = Inner::default();
        for (route, prefixes) in routes {
            let index = u32::try_from(inner.routes.len()).unwrap_or(u32::MAX);
            for (prefix, price) in prefixes {
                inner.longest = inner.longest.max(prefix.len());
                inner.prefixes += 1;
                let entry = Entry { route: index, price: price.or(route.price) };
                let entries = inner.by_prefix.entry(prefix.into_boxed_str()).or_default();
                entries.push(entry);
            }
            inner.routes.push(Arc::new(route));
        }
        Self(Arc::new(inner))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.routes.is_empty()
    }

    /// How many prefixes there are in all.
    #[must_use]
    pub fn prefixes(&self) -> usize {
        self.0.prefixes
    }

    /// Whether some route is for calls of this trunk.
    pub fn names_trunk(&self, trunk: &str) -> bool {
        self.0.routes.iter().any(|route| route.from_trunks.contains(trunk))
    }

    /// The routes whose prefix one of the spellings of a number begins with, in the order in which
    /// they are to be tried. Of one route only the longest prefix counts.
    #[must_use]
    pub fn find(&self, spellings: &[&str]) -> Vec<Candidate> {
        let mut found: BTreeMap<u32, (usize, Option<u64>)> = BTreeMap::new();
        for number in spellings {
            for length in (0..=number.len().min(self.0.longest)).rev() {
                let Some(prefix) = number.get(..length) else { continue };
                let Some(entries) = self.0.by_prefix.get(prefix) else { continue };
                for Entry { route, price } in entries {
                    let fits = length == number.len() || !self.0.routes[*route as usize].exact;
                    let is_longer = found.get(route).is_none_or(|(known, _)| *known < length);
                    if fits && is_longer {
                        found.insert(*route, (length, *price));
                    }
                }
            }
        }
        let longest = |length: usize| {
            spellings.iter().find_map(|s| s.get(..length)).unwrap_or_default().to_owned()
        };
        let mut candidates: Vec<Candidate> = found
            .into_iter()
            .map(|(index, (length, price))| Candidate {
                route: self.0.routes[index as usize].clone(),
                prefix: longest(length),
                price,
                index: index as usize,
            })
            .collect();
        candidates.sort_by_key(Candidate::rank);
        candidates
    }
}

impl Candidate {
    /// Priority first. Then what stays here, before what costs; the cheaper before the dearer; the
    /// longer prefix; the order of the configuration.
    fn rank(&self) -> impl Ord + use<> {
        let outward = self.route.is_outward();
        let price = if outward { self.price.unwrap_or(u64::MAX) } else { 0 };
        let length = std::cmp::Reverse(self.prefix.len());
        (self.route.priority, outward, price, length, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, trunk: &str, priority: u32) -> Route {
        let to = vec![Destination::Trunk(trunk.into())];
        Route { priority, ..Route::plain(name, to) }
    }

    fn names(table: &RouteTable, number: &str) -> Vec<String> {
        table.find(&[number]).iter().map(|c| format!("{} {}", c.route.name, c.prefix)).collect()
    }

    #[test]
    fn the_cheapest_goes_first_and_without_prices_the_longest_prefix() {
        let prefix = |text: &str, price| (text.to_owned(), price);
        let table = RouteTable::new([
            (route("all", "a", 10), vec![prefix("", None)]),
            (route("b", "b", 10), vec![prefix("+49", Some(20_000)), prefix("+4930", Some(9_000))]),
            (route("c", "c", 10), vec![prefix("+49", Some(10_000))]),
            (route("d", "d", 10), vec![prefix("+493", None)]),
            (route("first", "e", 1), vec![prefix("+49301", None)]),
        ]);
        assert_eq!(names(&table, "+49301"), ["first +49301", "b +4930", "c +49", "d +493", "all "]);
        assert_eq!(names(&table, "+4940"), ["c +49", "b +49", "all "]);
        assert_eq!(names(&table, "1001"), ["all "]);
        assert_eq!(names(&table, ""), ["all "]);
    }

    #[test]
    fn what_stays_here_goes_before_trunks_and_exact_numbers_are_exact() {
        let group = Route {
            to: vec![Destination::Group("sales".into())],
            exact: true,
            ..route("did", "", 10)
        };
        let table = RouteTable::new([
            (Route { price: Some(1), ..route("out", "a", 10) }, vec![("+4930".to_owned(), None)]),
            (group, vec![("+493012".to_owned(), None)]),
        ]);
        assert_eq!(names(&table, "+493012"), ["did +493012", "out +4930"]);
        assert_eq!(names(&table, "+4930123"), ["out +4930"]);
    }

    /// A hundred thousand prefixes, and a decision that sees one for each length at most.
    #[test]
    fn a_large_table_costs_no_more_than_a_small_one() {
        let prefixes = (0..100_000_u32).map(|n| (format!("+4{n:05}"), Some(u64::from(n) + 1)));
        let deck = prefixes.clone().collect();
        let table = RouteTable::new([
            (route("deck", "a", 10), deck),
            (route("other", "b", 10), prefixes.collect()),
            (route("rest", "c", 20), vec![("+4".to_owned(), None)]),
        ]);
        assert_eq!(table.prefixes(), 200_001);
        assert_eq!(table.0.longest, 7, "look-ups are bounded by this");
        let found = table.find(&["+401234567"]);
        assert_eq!(found.len(), 3, "rules looked at");
        assert_eq!(found[0].price, Some(1235));
    }
}
