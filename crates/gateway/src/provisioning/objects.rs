//! What is provisioned: made, shown, listed and removed, by whoever may.

use std::sync::Arc;
use std::time::Instant;

use crosspoint_base::Secret;
use crosspoint_state::{Account, App, Kind, Network, Object, Owner, Part, Source, Within};
use serde_json::{Map, Value};

use super::service::{self, Setup};
use super::{Provisioning, Refusal, secrets};
use crate::cli::unix_now;
use crate::config::is_host;

/// Whose objects somebody reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sphere {
    Everything,
    Owner(String),
}

/// An object with the token that was made with it.
pub(crate) type Made = (Object, Option<Secret<String>>);

impl Provisioning {
    pub(crate) async fn create(
        self: &Arc<Self>,
        who: Sphere,
        kind: Kind,
        fields: Map<String, Value>,
    ) -> Result<Made, Refusal> {
        self.blocking(move |this| this.create_now(&who, kind, &Fields(fields))).await
    }

    pub(crate) async fn show(
        self: &Arc<Self>,
        who: Sphere,
        kind: Kind,
        id: String,
    ) -> Result<Object, Refusal> {
        self.blocking(move |this| this.visible(&who, kind, &id)).await
    }

    /// Lists a kind, everywhere or within one object.
    pub(crate) async fn list(
        self: &Arc<Self>,
        who: Sphere,
        kind: Kind,
        parent: Option<(Kind, String)>,
        part: Part,
    ) -> Result<(Vec<Object>, u64), Refusal> {
        self.blocking(move |this| {
            if let Some((parent, id)) = &parent {
                this.visible(&who, *parent, id)?;
            }
            let within = match (&parent, &who) {
                (Some((Kind::Owner, id)), _) => Within::Owner(id),
                (Some((Kind::App, id)), _) => Within::App(id),
                (Some((Kind::Session, id)), _) => Within::Session(id),
                (Some((Kind::Network | Kind::Account, _)), _) => return Err(Refusal::NotFound),
                (None, Sphere::Everything) => Within::Everything,
                (None, Sphere::Owner(id)) => Within::Owner(id),
            };
            Ok(this.store.objects(kind, within, part)?)
        })
        .await
    }

    pub(crate) async fn remove(
        self: &Arc<Self>,
        who: Sphere,
        kind: Kind,
        id: String,
    ) -> Result<(), Refusal> {
        let gone = self.blocking(move |this| {
            this.visible(&who, kind, &id)?;
            Ok(this.store.remove_object(kind, &id)?)
        });
        self.revoke(gone.await?).await;
        Ok(())
    }

    /// An object that `who` may see. Others are as if they were not there.
    fn visible(&self, who: &Sphere, kind: Kind, id: &str) -> Result<Object, Refusal> {
        let object = self.store.object(kind, id)?.ok_or(Refusal::NotFound)?;
        match who {
            Sphere::Everything => Ok(object),
            Sphere::Owner(owner) if object.owner() == Some(owner) => Ok(object),
            Sphere::Owner(_) => Err(Refusal::NotFound),
        }
    }

    fn create_now(&self, who: &Sphere, kind: Kind, fields: &Fields) -> Result<Made, Refusal> {
        let mut token = None;
        let object = match kind {
            Kind::Owner => Object::Owner(owner(fields)?),
            Kind::App => Object::App(app(fields)?),
            Kind::Network => Object::Network(network(fields)?),
            Kind::Session => {
                let owner = match who {
                    Sphere::Everything => fields.text("owner", 1..=MAX_ID)?.to_owned(),
                    Sphere::Owner(id) => {
                        let named = fields.optional("owner", 1..=MAX_ID)?;
                        if named.is_some_and(|named| named != id) {
                            return Err(Refusal::Forbidden("sessions of other owners"));
                        }
                        id.clone()
                    }
                };
                let app = fields.text("app", 1..=MAX_ID)?.to_owned();
                let (session, made) = self.new_session(Source::App { app, owner })?;
                token = Some(made);
                Object::Session(session)
            }
            Kind::Account => Object::Account(self.account(fields)?),
        };
        self.store.insert_object(&object)?;
        if let Some(token) = &token {
            self.fresh().add(Instant::now(), object.id(), token.clone());
        }
        Ok((object, token))
    }

    fn account(&self, fields: &Fields) -> Result<Account, Refusal> {
        let session = fields.text("session", 1..=MAX_ID)?.to_owned();
        let invalid = |member, why: &str| Refusal::Invalid { member, why: why.to_owned() };
        let owner = match fields.optional("owner", 1..=MAX_ID)? {
            Some(owner) => owner.to_owned(),
            None => {
                let found = self.store.object(Kind::Session, &session)?;
                let found =
                    found.ok_or_else(|| invalid("session", "the owner has no such session"))?;
                let owner = found.owner().map(str::to_owned);
                owner.ok_or_else(|| invalid("session", "is a user's own, who has its accounts"))?
            }
        };
        let tag = fields.text("network", 1..=MAX_TAG)?;
        let networks = self.store.objects(Kind::Network, Within::Owner(&owner), Part::ALL)?.0;
        let network = networks.into_iter().find_map(|object| match object {
            Object::Network(network) if network.tag == tag => Some(network),
            _ => None,
        });
        let network = network.ok_or_else(|| invalid("network", "the owner has no such network"))?;
        let identifier = fields.text("identifier", 1..=MAX_TEXT)?.to_owned();
        let token = fields.optional("accessToken", 0..=MAX_TEXT)?.unwrap_or_default();
        let access_token = Secret::new(token.to_owned());
        let config = fields.config()?;
        let merged = service::merged(&network.config, &config)?;
        if let Setup::Sip(sip) = service::setup(&network.connector, &merged)? {
            sip.account(&identifier, &access_token, |_, _| false)?;
        }
        Ok(Account {
            id: secrets::id()?,
            session,
            network: network.tag,
            identifier,
            access_token,
            owner,
            config,
            created: unix_now(),
        })
    }
}

fn owner(fields: &Fields) -> Result<Owner, Refusal> {
    let email = fields.text("email", 3..=254)?;
    let (name, host) = email.rsplit_once('@').unwrap_or_default();
    // A colon would end the name of HTTP Basic.
    if name.is_empty() || !is_host(host) || email.contains([':', ' ']) {
        let why = "must be an e-mail address".to_owned();
        return Err(Refusal::Invalid { member: "email", why });
    }
    let password = Secret::new(fields.text("password", 8..=MAX_TEXT)?.to_owned());
    Ok(Owner {
        id: secrets::id()?,
        email: email.to_owned(),
        password: secrets::keep(&password)?,
        created: unix_now(),
    })
}

fn app(fields: &Fields) -> Result<App, Refusal> {
    let domain = fields.text("domain", 1..=MAX_TEXT)?.to_ascii_lowercase();
    let page = domain.strip_prefix("https://").or_else(|| domain.strip_prefix("http://"));
    let page = page.unwrap_or(&domain);
    let host = match page.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => host,
        _ => page,
    };
    if !is_host(host) {
        let why = "must be the host of its pages, such as app.example.com or \
                   http://localhost:3000"
            .to_owned();
        return Err(Refusal::Invalid { member: "domain", why });
    }
    Ok(App {
        id: secrets::id()?,
        name: fields.text("name", 1..=MAX_TEXT)?.to_owned(),
        domain,
        owner: fields.text("owner", 1..=MAX_ID)?.to_owned(),
        created: unix_now(),
    })
}

fn network(fields: &Fields) -> Result<Network, Refusal> {
    let connector = fields.text("connector", 1..=MAX_TAG)?.to_owned();
    let config = fields.config()?;
    service::setup(&connector, &service::object(&config)?)?;
    Ok(Network {
        id: secrets::id()?,
        tag: fields.text("tag", 1..=MAX_TAG)?.to_owned(),
        connector,
        config,
        owner: fields.text("owner", 1..=MAX_ID)?.to_owned(),
        created: unix_now(),
    })
}

/// The members of a request. Unknown ones are left alone.
struct Fields(Map<String, Value>);

impl Fields {
    fn text(
        &self,
        member: &'static str,
        length: std::ops::RangeInclusive<usize>,
    ) -> Result<&str, Refusal> {
        let text = self.optional(member, length)?;
        text.ok_or_else(|| Refusal::Invalid { member, why: "is missing".to_owned() })
    }

    fn optional(
        &self,
        member: &'static str,
        length: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<&str>, Refusal> {
        let why = match self.0.get(member) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if !length.contains(&text.len()) => {
                format!("must have {} to {} bytes", length.start(), length.end())
            }
            Some(Value::String(text)) if text.chars().any(char::is_control) => {
                "must not have control characters".to_owned()
            }
            Some(Value::String(text)) => return Ok(Some(text)),
            Some(_) => "must be a text".to_owned(),
        };
        Err(Refusal::Invalid { member, why })
    }

    /// A configuration: a JSON object, or its text.
    fn config(&self) -> Result<String, Refusal> {
        let config = match self.0.get("config") {
            None | Some(Value::Null) => "{}".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        if config.len() > MAX_CONFIG {
            let why = format!("must not be longer than {MAX_CONFIG} bytes");
            return Err(Refusal::Invalid { member: "config", why });
        }
        service::object(&config)?;
        Ok(config)
    }
}

const MAX_ID: usize = 64;
const MAX_TAG: usize = 64;
const MAX_TEXT: usize = 256;
const MAX_CONFIG: usize = 4096;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use crosspoint_base::Rng;
    use crosspoint_state::{MemoryStore, Provisioning as _};
    use serde_json::json;

    use super::*;
    use crate::config::Config;
    use crate::provisioning::Settings;

    const KINDS: [Kind; 5] = [Kind::Owner, Kind::App, Kind::Network, Kind::Session, Kind::Account];

    fn provisioning(store: Arc<MemoryStore>) -> Arc<Provisioning> {
        let config = Config::parse("", Path::new("crosspoint.toml")).unwrap();
        let settings = Settings::new(&config, None, &[]);
        Provisioning::new(store, settings, tokio::sync::mpsc::channel(1).0)
    }

    fn any(rng: &mut Rng, known: &[String]) -> Value {
        match rng.below(12) {
            0 => Value::Null,
            1 => json!(rng.next_u64()),
            2 => json!(-1.5e300),
            3 => json!([["x"]]),
            4 => json!({ "media": "direct", "registrar": "sip:pbx.example", "expires": 60 }),
            5 => json!("{\"registrar\":\"sip:[::1]:5070;transport=tls\",\"authUser\":\"\"}"),
            6 => json!("\u{202e}\u{0}\n' OR 1=1 --"),
            7 => json!("x".repeat(rng.below(5000) as usize)),
            8 => json!(["sip-connector", "webrtc", "conference"][rng.below(3) as usize]),
            9 => json!(["a@b.example", "sip:é@[::1]", "h:1", "http://x"][rng.below(4) as usize]),
            _ => {
                let index = rng.below(u32::try_from(known.len()).unwrap()) as usize;
                json!(known[index])
            }
        }
    }

    /// Whatever a portal sends makes an object or is refused; nothing belongs to nobody after it.
    #[test]
    fn any_members_are_refused_or_make_something_whole() {
        let mut rng = Rng::from_u64(11);
        let store = Arc::new(MemoryStore::new());
        let this = provisioning(store.clone());
        let mut known = vec!["tag".to_owned()];
        for n in 0..2 {
            let owner = Owner {
                id: format!("owner{n}"),
                email: format!("{n}@x.example"),
                password: Secret::new(String::new()),
                created: 1,
            };
            known.push(owner.id.clone());
            store.insert_object(&Object::Owner(owner)).unwrap();
        }
        let members = [
            "email",
            "name",
            "domain",
            "owner",
            "tag",
            "connector",
            "config",
            "app",
            "session",
            "network",
            "identifier",
            "accessToken",
        ];
        let mut made = [0; 5];
        for _ in 0..20_000 {
            let kind = KINDS[rng.below(5) as usize];
            let fields = members.iter().map(|member| {
                let usual = match *member {
                    "owner" => json!(format!("owner{}", rng.below(2))),
                    "domain" => json!("x.example"),
                    "connector" => json!("webrtc"),
                    "config" => json!({}),
                    "tag" | "network" => json!("tag"),
                    "name" | "identifier" => json!("ann"),
                    _ => any(&mut rng, &known),
                };
                let value = if rng.below(4) == 0 { any(&mut rng, &known) } else { usual };
                ((*member).to_owned(), value)
            });
            let fields = Fields(fields.collect());
            let who = match rng.below(4) {
                // What else an owner asks for is refused before it comes here.
                0 if kind == Kind::Session => Sphere::Owner(known[1].clone()),
                _ => Sphere::Everything,
            };
            if let Ok((object, token)) = this.create_now(&who, kind, &fields) {
                assert_eq!(object.kind(), kind);
                assert_eq!(token.is_some(), kind == Kind::Session);
                known.push(object.id().to_owned());
                made[KINDS.iter().position(|k| *k == kind).unwrap()] += 1;
            }
        }
        assert!(made[1..].iter().all(|count| *count > 0), "{made:?}");
        for kind in KINDS {
            for object in store.objects(kind, Within::Everything, Part::ALL).unwrap().0 {
                let owner = object.owner().unwrap();
                assert!(store.object(Kind::Owner, owner).unwrap().is_some(), "{object:?}");
            }
        }
    }
}
