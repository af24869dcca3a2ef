//! Who may do what: one table for every interface, and the one question that all of them ask.
//!
//! Signing in makes a [`Principal`] of somebody; a request has an [`Action`]; [`check`] says how
//! far it reaches. `docs/permissions.md` shows the same table; a test compares, and another tries
//! every route as everybody.

use crate::provisioning::Refusal;

/// What an operator may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Sees everything but what is said in calls and who changed what.
    Viewer,
    /// Handles calls as well.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// Somebody who has proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Principal {
    /// A user of ours.
    User(String),
    /// Somebody who owns apps.
    Owner(String),
    /// The login of provisioning.
    Portal,
    /// Somebody who operates us.
    Staff(Staff),
    /// Whoever has a token of the call API: bound to a number, or a server's.
    Terminal,
    Server,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Staff {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// From the console, and not with the token of the configuration.
    pub(crate) is_console: bool,
}

/// The columns of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Nobody,
    User,
    Owner,
    Portal,
    Terminal,
    Server,
    Viewer,
    Operator,
    Admin,
}

impl Who {
    pub(crate) const ALL: [Self; 9] = [
        Self::Nobody,
        Self::User,
        Self::Owner,
        Self::Portal,
        Self::Terminal,
        Self::Server,
        Self::Viewer,
        Self::Operator,
        Self::Admin,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::User => "user",
            Self::Owner => "owner",
            Self::Portal => "portal",
            Self::Terminal => "terminal",
            Self::Server => "server",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl Principal {
    fn who(&self) -> Who {
        match self {
            Self::User(_) => Who::User,
            Self::Owner(_) => Who::Owner,
            Self::Portal => Who::Portal,
            Self::Terminal => Who::Terminal,
            Self::Server => Who::Server,
            Self::Staff(Staff { role, .. }) => match role {
                Role::Viewer => Who::Viewer,
                Role::Operator => Who::Operator,
                Role::Admin => Who::Admin,
            },
        }
    }

    /// For the audit: who it is, and what lets it in.
    pub(crate) fn named(&self) -> (&str, &'static str) {
        let role = self.who().as_str();
        match self {
            Self::User(name) | Self::Owner(name) => (name, role),
            Self::Staff(staff) => (&staff.name, role),
            Self::Portal | Self::Terminal | Self::Server => (role, role),
        }
    }
}

/// The rows of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Read what is public; sign in.
    Open,
    /// A user's own sessions, relay and forwarding.
    OwnThings,
    /// Call and be called.
    Call,
    /// An operator's own account.
    Account,
    /// Calls, registrations, trunks, bans, records, routes, events, users.
    See,
    /// Recordings and what calls are streamed to.
    Listen,
    /// End calls, play to them, send digits.
    Control,
    /// Begin and end recordings and streams.
    Record,
    /// Not listen to addresses for a while, and listen again.
    Ban,
    /// Take no new calls for a while.
    Drain,
    /// Who changed what.
    Audit,
    /// Users of ours.
    Users,
    /// Remove recordings.
    Erase,
    /// The configuration, and operators.
    Configure,
    /// What apps are provisioned with: see it.
    Apps,
    /// Make and end sessions of apps.
    Sessions,
    /// Make and remove owners, apps, networks and accounts.
    Provision,
}

impl Action {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::OwnThings => "own",
            Self::Call => "call",
            Self::Account => "account",
            Self::See => "see",
            Self::Listen => "listen",
            Self::Control => "control",
            Self::Record => "record",
            Self::Ban => "ban",
            Self::Drain => "drain",
            Self::Audit => "audit",
            Self::Users => "users",
            Self::Erase => "erase",
            Self::Configure => "configure",
            Self::Apps => "apps",
            Self::Sessions => "sessions",
            Self::Provision => "provision",
        }
    }
}

/// How far somebody may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Nothing,
    /// What is one's own. Everything else is as if it were not there.
    Own,
    Everything,
}

/// In the order of [`Who::ALL`].
const TABLE: [(Action, [Reach; 9]); 17] = {
    use Action::*;
    const ALL: Reach = Reach::Everything;
    const OWN: Reach = Reach::Own;
    const NO: Reach = Reach::Nothing;
    [
        // nobody, user, owner, portal, terminal, server, viewer, operator, admin
        (Open, [ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL]),
        (OwnThings, [NO, OWN, NO, NO, NO, NO, NO, NO, NO]),
        (Call, [NO, OWN, NO, NO, OWN, ALL, NO, NO, NO]),
        (Account, [NO, NO, NO, NO, NO, NO, OWN, OWN, OWN]),
        (See, [NO, NO, NO, NO, NO, NO, ALL, ALL, ALL]),
        (Listen, [NO, NO, NO, NO, NO, NO, NO, ALL, ALL]),
        (Control, [NO, NO, NO, NO, NO, NO, NO, ALL, ALL]),
        (Record, [NO, NO, NO, NO, NO, NO, NO, ALL, ALL]),
        (Ban, [NO, NO, NO, NO, NO, NO, NO, ALL, ALL]),
        (Drain, [NO, NO, NO, NO, NO, NO, NO, ALL, ALL]),
        (Audit, [NO, NO, NO, NO, NO, NO, NO, ALL, ALL]),
        (Users, [NO, NO, NO, NO, NO, NO, NO, NO, ALL]),
        (Erase, [NO, NO, NO, NO, NO, NO, NO, NO, ALL]),
        (Configure, [NO, NO, NO, NO, NO, NO, NO, NO, ALL]),
        (Apps, [NO, NO, OWN, ALL, NO, NO, ALL, ALL, ALL]),
        (Sessions, [NO, NO, OWN, ALL, NO, NO, NO, NO, ALL]),
        (Provision, [NO, NO, NO, ALL, NO, NO, NO, NO, ALL]),
    ]
};

/// How far `who` may go with an action; nobody is nobody.
///
/// # Errors
/// [`Refusal::Unauthorized`] for nobody, [`Refusal::Forbidden`] for who is known.
pub(crate) fn check(who: Option<&Principal>, action: Action) -> Result<Reach, Refusal> {
    match reach(who.map_or(Who::Nobody, Principal::who), action) {
        Reach::Nothing if who.is_none() => Err(Refusal::Unauthorized),
        Reach::Nothing if matches!(who, Some(Principal::Owner(_))) => {
            Err(Refusal::Forbidden("only the operator may do this"))
        }
        Reach::Nothing => Err(Refusal::Forbidden("your role does not allow this")),
        reach => Ok(reach),
    }
}

/// All that one may do, in words: what a page shows and what it does not.
pub(crate) fn actions_of(role: Role) -> Vec<&'static str> {
    let staff = Staff { name: String::new(), role, is_console: true };
    let who = Principal::Staff(staff).who();
    let may = TABLE.iter().filter(|(action, _)| reach(who, *action) != Reach::Nothing);
    may.map(|(action, _)| action.as_str()).collect()
}

fn reach(who: Who, action: Action) -> Reach {
    let row = TABLE.iter().find(|(of, _)| *of == action).map(|(_, row)| row);
    let column = Who::ALL.iter().position(|column| *column == who);
    match (row, column) {
        (Some(row), Some(column)) => row[column],
        // What is not in the table may not be done.
        _ => Reach::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staff(role: Role) -> Principal {
        Principal::Staff(Staff { name: "x".to_owned(), role, is_console: true })
    }

    #[test]
    fn roles_grow_and_nobody_gets_further_than_what_is_open() {
        for (action, _) in TABLE {
            let may = |who: Option<Principal>| check(who.as_ref(), action).is_ok();
            let [viewer, operator, admin] = Role::ALL.map(|role| may(Some(staff(role))));
            assert!(!viewer || operator, "{action:?}");
            assert!(!operator || admin, "{action:?}");
            assert_eq!(may(None), action == Action::Open);
        }
        assert_eq!(check(None, Action::See), Err(Refusal::Unauthorized));
        let viewer = staff(Role::Viewer);
        assert!(matches!(check(Some(&viewer), Action::Ban), Err(Refusal::Forbidden(_))));
        let owner = Principal::Owner("o".to_owned());
        assert_eq!(check(Some(&owner), Action::Sessions), Ok(Reach::Own));
        assert_eq!(Role::parse("root"), None);
    }

    /// The document's table of roles is this one.
    #[test]
    fn the_document_shows_this_table() {
        let document = include_str!("../../../docs/permissions.md");
        let words = Who::ALL.map(Who::as_str).join(" | ");
        let (_, table) = document.split_once(&format!("| action | {words} |")).unwrap();
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let shown: Vec<Vec<&str>> =
            rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect();
        let word = |reach: &Reach| match reach {
            Reach::Nothing => "",
            Reach::Own => "own",
            Reach::Everything => "all",
        };
        let ours: Vec<Vec<&str>> = TABLE
            .iter()
            .map(|(action, row)| {
                std::iter::once(action.as_str()).chain(row.iter().map(word)).collect()
            })
            .collect();
        let shown: Vec<Vec<&str>> = shown
            .into_iter()
            .map(|mut row| {
                row[0] = row[0].trim_matches('`');
                row
            })
            .collect();
        assert_eq!(shown, ours);
    }
}
