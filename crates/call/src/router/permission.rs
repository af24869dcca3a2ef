//! Who may call what outside, and how much of it: permissions and the caps against toll fraud.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::numbering::{self, Country, HIGH_RISK};

/// What some callers may do outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// As reasons call it.
    pub name: Arc<str>,
    pub users: BTreeSet<String>,
    /// Calls that came over these trunks and leave by another.
    pub trunks: BTreeSet<String>,
    /// Calls to other countries.
    pub international: bool,
    /// Only numbers that begin with one of these; an empty list allows all.
    pub allow: Vec<String>,
    /// No numbers that begin with one of these; the longer of an allowing and a denying prefix
    /// counts.
    pub deny: Vec<String>,
    /// Numbers that cost extra, and destinations of high risk.
    pub high_risk: bool,
    /// Calls at once over trunks.
    pub calls: u32,
    pub calls_per_minute: u32,
    /// The number shown to the called side.
    pub caller_id: Option<String>,
}

impl Permission {
    /// What everybody may do of whom nothing is said.
    #[must_use]
    pub fn usual() -> Self {
        Self {
            name: "default".into(),
            users: BTreeSet::new(),
            trunks: BTreeSet::new(),
            international: true,
            allow: Vec::new(),
            deny: Vec::new(),
            high_risk: false,
            calls: 10,
            calls_per_minute: 30,
            caller_id: None,
        }
    }

    /// Whether it is for everybody whom no other names.
    #[must_use]
    pub fn is_for_all(&self) -> bool {
        self.users.is_empty() && self.trunks.is_empty()
    }

    /// Why a number may not be called, if so; for one that may, what allows it.
    pub(super) fn check(
        &self,
        number: &str,
        country: Option<&Country>,
        fraud: &Fraud,
    ) -> Result<String, Denied> {
        let longest = |prefixes: &[String]| {
            let fitting = prefixes.iter().filter(|p| number.starts_with(p.as_str()));
            fitting.map(|p| p.len()).max()
        };
        let (allowed, denied) = (longest(&self.allow), longest(&self.deny));
        if let Some(length) = denied.filter(|denied| allowed.is_none_or(|a| a <= *denied)) {
            return Err(Denied::Permission(format!(
                "{number} begins with {}, which permission {} denies",
                &number[..length],
                self.name
            )));
        }
        if allowed.is_none() && !self.allow.is_empty() {
            return Err(Denied::Permission(format!(
                "{number} has none of the prefixes that permission {} allows",
                self.name
            )));
        }
        // A prefix that was allowed on purpose goes before what is refused in general.
        let is_abroad = country.is_some_and(|country| country.is_abroad(number));
        if is_abroad && !self.international && allowed.is_none() {
            return Err(Denied::Permission(format!(
                "{number} is abroad, and permission {} has international = false",
                self.name
            )));
        }
        let risk = fraud.risk(number, country);
        if let Some(prefix) = risk.filter(|_| !self.high_risk && allowed.is_none()) {
            return Err(Denied::HighRisk(format!(
                "{number} begins with {prefix}, a destination of high cost or risk that nothing allows"
            )));
        }
        Ok(format!("permission {} allows {number}", self.name))
    }
}

/// Why a number may not be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denied {
    Permission(String),
    HighRisk(String),
}

/// Caps that hold for all callers together, and what is refused unless it is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fraud {
    /// Prefixes that are refused, instead of the usual ones.
    pub high_risk: Option<Vec<String>>,
    /// Prefixes that are no risk here.
    pub allow: Vec<String>,
    /// Calls at once to any one foreign country.
    pub calls_per_country: u32,
    pub limits: Vec<DestinationLimit>,
}

impl Default for Fraud {
    fn default() -> Self {
        Self { high_risk: None, allow: Vec::new(), calls_per_country: 50, limits: Vec::new() }
    }
}

/// How much may go to numbers that begin with one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationLimit {
    pub name: Arc<str>,
    pub prefixes: Vec<String>,
    pub calls: Option<u32>,
    pub calls_per_minute: Option<u32>,
}

impl Fraud {
    /// The prefix that makes a number one of high cost or risk.
    pub(super) fn risk(&self, number: &str, country: Option<&Country>) -> Option<String> {
        let longest = |prefixes: &[String]| {
            let known = prefixes.iter().filter(|prefix| number.starts_with(prefix.as_str()));
            known.max_by_key(|prefix| prefix.len()).cloned()
        };
        let found = match &self.high_risk {
            Some(own) => longest(own),
            None => usual_risk(number, country),
        };
        let allowed = longest(&self.allow).map_or(0, |prefix| prefix.len());
        found.filter(|prefix| prefix.len() > allowed)
    }
}

fn usual_risk(number: &str, country: Option<&Country>) -> Option<String> {
    let abroad = HIGH_RISK.iter().filter(|prefix| number.starts_with(**prefix));
    let abroad = abroad.max_by_key(|prefix| prefix.len());
    if let Some(prefix) = abroad {
        return Some((*prefix).to_owned());
    }
    let country = country?;
    let rest = number.strip_prefix('+')?.strip_prefix(country.code)?;
    let premium = country.premium.iter().filter(|prefix| rest.starts_with(**prefix));
    let premium = premium.max_by_key(|prefix| prefix.len())?;
    Some(format!("+{}{premium}", country.code))
}

/// What a call outside is counted under while it lasts, and for a minute after it began.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meter {
    /// The user who calls.
    User(Arc<str>),
    /// The trunk that a call to another trunk came over.
    Trunk(Arc<str>),
    /// A configured limit, by its name.
    Limit(Arc<str>),
    /// A country code.
    Country(String),
}

/// How much of something there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// At once, now.
    pub calls: u32,
    /// Begun within the last minute.
    pub in_last_minute: u32,
}

/// The meter of a foreign country that a number lies in.
pub(super) fn country_meter(number: &str, home: Option<&Country>) -> Option<Meter> {
    let code = numbering::country_code(number)?;
    let is_home = home.is_some_and(|home| !home.is_abroad(number));
    (!is_home).then(|| Meter::Country(code.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_prefix_decides_and_risk_needs_to_be_allowed() {
        let de = Country::find("de");
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let usual = Permission::usual();
        let fraud = Fraud::default();
        let check = |permission: &Permission, fraud: &Fraud, number: &str, fine: bool| {
            let outcome = permission.check(number, de, fraud);
            assert_eq!(outcome.is_ok(), fine, "{number}: {outcome:?}");
        };
        check(&usual, &fraud, "+4930123", true);
        check(&usual, &fraud, "+441632", true);
        check(&usual, &fraud, "1001", true);
        check(&usual, &fraud, "+4990012345", false);
        check(&usual, &fraud, "+25261234567", false);
        check(&usual, &fraud, "+18765550123", false);
        let allowing = Fraud { allow: words(&["+252"]), ..fraud.clone() };
        check(&usual, &allowing, "+25261234567", true);
        check(&usual, &allowing, "+88213", false);
        let own = Fraud { high_risk: Some(words(&["+44"])), ..fraud.clone() };
        check(&usual, &own, "+25261234567", true);
        check(&usual, &own, "+441632", false);
        let home = Permission { international: false, ..usual.clone() };
        check(&home, &fraud, "+441632", false);
        check(&home, &fraud, "+4930123", true);
        let exception = Permission { allow: words(&["+49", "+4416"]), ..home.clone() };
        check(&exception, &fraud, "+441632", true);
        check(&exception, &fraud, "+44207", false);
        check(&exception, &fraud, "1001", false);
        let denying = Permission { deny: words(&["+4930", "+49900"]), ..exception };
        check(&denying, &fraud, "+4930123", false);
        check(&denying, &fraud, "+4940123", true);
        let risky = Permission { high_risk: true, ..usual };
        check(&risky, &fraud, "+25261234567", true);
    }
}
