//! `/api/v1`: running calls and their recordings, for operators with the token.

use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use crosspoint_base::Private;
use crosspoint_call::Scope;
use crosspoint_call::router::RouteRequest;
use crosspoint_media::clip::Clip;
use crosspoint_net::Encoding;
use crosspoint_state::{AuditFilter, CdrFilter};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::{Api, Noted, identity, read_object};
use crate::calls::{
    CAPTURED, CallStep, CallWish, MOST_CAPTURED, RecordStep, Side, StreamMode, StreamWish,
};
use crate::http::Arrival;
use crate::permissions::{self, Principal};
use crate::provisioning::{Refusal, Shown};
use crate::run::drain::Draining;
use crate::{audit, bans};

/// What operators do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Admin {
    Calls,
    Call,
    /// What was said in it.
    Ladder,
    Record,
    Dtmf,
    Play,
    Quiet,
    Stream,
    StopStream,
    Capture,
    Recordings,
    Trunks,
    Registrations,
    /// The file itself.
    Recording,
    RemoveRecording,
    Events,
    /// Who is not listened to.
    Bans,
    Ban,
    LiftBan,
    /// Past calls.
    Records,
    /// Where a call would go now.
    Route,
    /// Reads the configuration again.
    Reload,
    /// Takes no new calls, takes them again, and says how it stands.
    Drain,
    Undrain,
    Draining,
    /// Where a user's calls go.
    Forwarding,
    Forward,
    EndCall,
    /// Devices that are signed in.
    Bindings,
    Users,
    User,
    AddUser,
    ChangeUser,
    RemoveUser,
    Operators,
    AddOperator,
    ChangeOperator,
    RemoveOperator,
    Audit,
    Overview,
    Session,
    SignIn,
    /// How one may sign in.
    Ways,
    /// Sends a browser to the provider of identities.
    Vouch,
    /// Signs in whom the provider sends back.
    Vouched,
    SignOut,
    OwnPassword,
    Configuration,
    CheckConfiguration,
    Configure,
}

/// What a request says besides who and what.
pub(super) struct Asked {
    /// The first name in its path.
    pub(super) part: String,
    pub(super) query: String,
    pub(super) fields: Map<String, Value>,
}

impl Admin {
    /// What the audit calls it, if it changes anything.
    pub(super) fn audited(self) -> Option<&'static str> {
        match self {
            Self::EndCall => Some("call.end"),
            Self::Record => Some("call.record"),
            Self::Dtmf => Some("call.dtmf"),
            Self::Play => Some("call.play"),
            Self::Quiet => Some("call.quiet"),
            Self::Stream => Some("call.stream"),
            Self::StopStream => Some("call.stop_stream"),
            Self::Capture => Some("call.capture"),
            Self::RemoveRecording => Some("recording.remove"),
            Self::Ban => Some("ban.add"),
            Self::LiftBan => Some("ban.lift"),
            Self::Forward => Some("user.forward"),
            Self::AddUser => Some("user.add"),
            Self::ChangeUser => Some("user.change"),
            Self::RemoveUser => Some("user.remove"),
            Self::AddOperator => Some("operator.add"),
            Self::ChangeOperator => Some("operator.change"),
            Self::RemoveOperator => Some("operator.remove"),
            Self::Drain => Some("drain.begin"),
            Self::Undrain => Some("drain.end"),
            Self::Reload => Some("configuration.reload"),
            Self::Configure => Some("configuration.change"),
            Self::SignIn | Self::Vouched => Some("session.begin"),
            Self::SignOut => Some("session.end"),
            Self::OwnPassword => Some("operator.password"),
            Self::Calls
            | Self::Call
            | Self::Ladder
            | Self::Recordings
            | Self::Trunks
            | Self::Registrations
            | Self::Bindings
            | Self::Recording
            | Self::Events
            | Self::Bans
            | Self::Records
            | Self::Route
            | Self::Draining
            | Self::Forwarding
            | Self::Users
            | Self::User
            | Self::Operators
            | Self::Audit
            | Self::Overview
            | Self::Session
            | Self::Ways
            | Self::Vouch
            | Self::Configuration
            | Self::CheckConfiguration => None,
        }
    }
}

impl Api {
    pub(super) async fn admin(
        &self,
        action: Admin,
        who: Option<Principal>,
        arrival: &Arrival,
        request: Request,
        noted: &mut Noted,
    ) -> Result<Response, Refusal> {
        let (parts, body) = request.into_parts();
        let path: Vec<String> = parts.uri.path().split('/').map(decoded).collect();
        // `/api/v1/calls/{gcid}`, `/api/v1/recordings/{day}/{name}`.
        let part = |at: usize| path.get(at).cloned().ok_or(Refusal::NotFound);
        let query = parts.uri.query().unwrap_or_default().to_owned();
        match action {
            Admin::Recording => {
                return self.recording(&part(4)?, &part(5)?, &parts.headers).await;
            }
            Admin::Events => return self.events(&parts.headers, &query, arrival),
            Admin::Records => return self.records(&query).await,
            Admin::Route => return self.route(&query).await,
            Admin::Ladder => return self.ladder(part(4)?, &query, who.as_ref()).await,
            Admin::Calls if query_value(&query, "past").as_deref() == Some("true") => {
                return self.past_calls(&query).await;
            }
            Admin::Bans => return Ok(self.bans()),
            Admin::LiftBan => return self.lift_ban(&part(4)?),
            Admin::Reload => return self.reload().await,
            Admin::Undrain => return Ok(Answer::json(&self.draining()?.undo().await?)),
            Admin::Draining => return Ok(Answer::json(&self.draining()?.shown().await?)),
            Admin::Ways => return Ok(self.ways()),
            Admin::Vouch => return self.vouch(arrival, &parts.headers, &parts.uri).await,
            Admin::Vouched => {
                return self.vouched(arrival, &parts.headers, &query, noted).await;
            }
            _ => {}
        }
        let fields = match read_object(&parts.headers, body).await {
            Ok(fields) => fields,
            Err(response) => return Ok(response),
        };
        noted.detail = audit::detail(&fields);
        let asked = Asked { part: path.get(4).cloned().unwrap_or_default(), query, fields };
        if let Some(done) = self.people(action, &asked).await {
            return done;
        }
        if let Some(done) = self.console(action, who, arrival, &parts.headers, &asked, noted).await
        {
            return done;
        }
        let Asked { fields, query, .. } = asked;
        match action {
            Admin::Ban => return self.ban(&fields),
            Admin::Drain => return self.drain(&fields).await,
            _ => {}
        }
        let step = match action {
            Admin::Trunks => return self.ask(CallWish::Trunks).await,
            Admin::Registrations => return self.ask(CallWish::Registrations).await,
            Admin::Bindings => return self.bindings(&query).await,
            Admin::Calls => return self.ask(CallWish::List).await,
            Admin::Recordings => return self.ask(CallWish::Recordings).await,
            Admin::RemoveRecording => {
                let name = format!("{}/{}", part(4)?, part(5)?);
                return self.ask(CallWish::RemoveRecording(name)).await;
            }
            Admin::Call => CallStep::Show,
            Admin::EndCall => return self.ask(CallWish::End(part(4)?)).await,
            Admin::Record => CallStep::Record(record_step(&fields)?),
            Admin::Dtmf => dtmf(&fields)?,
            Admin::Play => self.play(&fields).await?,
            Admin::Stream => CallStep::Stream(stream(fields)?),
            Admin::StopStream => CallStep::StopStream,
            Admin::Capture => capture_step(&fields)?,
            Admin::Quiet => CallStep::Quiet { side: asked_side(&query)? },
            // Everything else is done.
            _ => return Err(Refusal::NotFound),
        };
        self.ask(CallWish::Of(part(4)?, step)).await
    }

    async fn ask(&self, wish: CallWish) -> Result<Response, Refusal> {
        Ok(Answer::json(&self.backend.calls(wish).await?))
    }

    /// What is wrong with a file is said in full: whoever may ask may read it.
    async fn reload(&self) -> Result<Response, Refusal> {
        Ok(match self.backend.reload().await {
            Ok(outcome) => Answer::json(&outcome.as_json()),
            Err(failure) => Answer::not_reloaded(&failure),
        })
    }

    async fn drain(&self, fields: &Map<String, Value>) -> Result<Response, Refusal> {
        let exit = fields.contains_key("exit_after_s");
        let limit = number(fields, "exit_after_s", 0, 0..=86_400)?;
        let exit = exit.then(|| Duration::from_secs(limit));
        Ok(Answer::json(&self.draining()?.begin(exit).await?))
    }

    fn draining(&self) -> Result<&Draining, Refusal> {
        self.backend.draining().ok_or(Refusal::Internal)
    }

    /// Users of ours and operators; nothing when it is about something else.
    async fn people(&self, action: Admin, asked: &Asked) -> Option<Result<Response, Refusal>> {
        let provisioning = &self.provisioning;
        let (name, fields) = (asked.part.clone(), asked.fields.clone());
        let done = match action {
            Admin::Users => provisioning.users().await,
            Admin::User => provisioning.user(name).await,
            Admin::AddUser => {
                let made = provisioning.add_user(fields).await;
                return Some(made.map(|user| made_at("users", &user)));
            }
            Admin::ChangeUser => provisioning.change_user(name, fields).await,
            Admin::RemoveUser => provisioning.remove_user(name).await.map(|()| json!({})),
            Admin::Forwarding => provisioning.forwarding(name).await,
            Admin::Forward => provisioning.forward(name, fields).await,
            Admin::Operators => provisioning.operators().await,
            Admin::AddOperator => {
                let made = provisioning.add_operator(fields).await;
                return Some(made.map(|operator| made_at("operators", &operator)));
            }
            Admin::ChangeOperator => provisioning.change_operator(name, fields).await,
            Admin::RemoveOperator => provisioning.remove_operator(name).await.map(|()| json!({})),
            Admin::Audit => match audit_filter(&asked.query) {
                Ok(filter) => provisioning.audited(filter).await,
                Err(refusal) => Err(refusal),
            },
            _ => return None,
        };
        Some(done.map(|value| Answer::json(&value)))
    }

    /// Devices that are signed in, of one user or all.
    async fn bindings(&self, query: &str) -> Result<Response, Refusal> {
        let limit = number_asked(query, "limit", 1000)?.unwrap_or(1000);
        let user = query_value(query, "user");
        let limit = usize::try_from(limit).unwrap_or(1000);
        self.ask(CallWish::Bindings { user, limit }).await
    }

    fn bans(&self) -> Response {
        let items: Vec<Value> = self.backend.bans().list().iter().map(bans::shown_live).collect();
        Answer::json(&json!({ "total": items.len(), "items": items }))
    }

    fn ban(&self, fields: &Map<String, Value>) -> Result<Response, Refusal> {
        let invalid = |why: &str| Refusal::Invalid { member: "address", why: why.to_owned() };
        let address = bans::address(text(fields, "address")?);
        let address = address.ok_or_else(|| invalid("must be an IP address"))?;
        let seconds = number(fields, "seconds", 86_400, 1..=366 * 86_400)?;
        let ban = self.backend.bans().impose(address, Duration::from_secs(seconds));
        let ban = ban.ok_or_else(|| invalid("belongs to a trunk, or to ban.exempt"))?;
        Ok(Answer::json(&bans::shown_live(&ban)))
    }

    fn lift_ban(&self, address: &str) -> Result<Response, Refusal> {
        let lifted = bans::address(address).and_then(|ip| self.backend.bans().lift(ip));
        Ok(Answer::json(&bans::shown_live(&lifted.ok_or(Refusal::NotFound)?)))
    }

    /// The last calls of which is kept what was said.
    async fn past_calls(&self, query: &str) -> Result<Response, Refusal> {
        let most = match query_value(query, "limit").map(|text| text.parse::<usize>()) {
            None => 100,
            Some(Ok(most)) if most <= 1000 => most,
            Some(_) => {
                let why = "must be 0 to 1000".to_owned();
                return Err(Refusal::Invalid { member: "limit", why });
            }
        };
        Ok(Answer::json(&self.backend.recent_calls(most).await?.as_json()))
    }

    /// What was said in one call, as JSON or as a capture file. Captured sound is for those who may
    /// listen to recordings.
    async fn ladder(
        &self,
        gcid: String,
        query: &str,
        who: Option<&Principal>,
    ) -> Result<Response, Refusal> {
        let is_pcap = match query_value(query, "format").as_deref() {
            None | Some("json") => false,
            Some("pcap") => true,
            Some(_) => {
                let why = "must be json or pcap".to_owned();
                return Err(Refusal::Invalid { member: "format", why });
            }
        };
        let dated = self.backend.ladder(gcid).await?;
        if !is_pcap {
            return Ok(Answer::json(&dated.as_json()));
        }
        let headers = [
            (CONTENT_TYPE, "application/vnd.tcpdump.pcap"),
            (CACHE_CONTROL, "no-store"),
            (CONTENT_DISPOSITION, "attachment; filename=\"ladder.pcap\""),
        ];
        let may_listen = permissions::check(who, permissions::Action::Listen).is_ok();
        Ok((headers, dated.as_pcap(may_listen)).into_response())
    }

    /// Past calls, newest first.
    async fn records(&self, query: &str) -> Result<Response, Refusal> {
        let text = |key| query_value(query, key);
        let number = |key: &'static str, most: i64| number_asked(query, key, most);
        let limit = number("limit", 1000)?.unwrap_or(100);
        let filter = CdrFilter {
            gcid: text("gcid"),
            since: number("since", i64::MAX)?,
            party: text("party"),
            refused: text("refused").as_deref() == Some("true"),
            limit: u32::try_from(limit).ok(),
        };
        let records = self.backend.records(filter).await?;
        Ok(Answer::json(&json!({ "items": records })))
    }

    /// What `crosspoint route-test` asks, of the gateway as it is now.
    async fn route(&self, query: &str) -> Result<Response, Refusal> {
        let text = |key| query_value(query, key);
        let missing = |member| Refusal::Invalid { member, why: "is needed".to_owned() };
        let (from, trunk) = (text("from"), text("trunk"));
        if from.is_none() && trunk.is_none() {
            return Err(missing("from"));
        }
        let request = RouteRequest {
            user: from.as_deref().filter(|_| trunk.is_none()).map(Arc::from),
            trunk: trunk.as_deref().map(Arc::from),
            from: Private(from.unwrap_or_default()),
            to: Private(text("to").ok_or_else(|| missing("to"))?),
            scope: Scope::Everywhere,
            ..RouteRequest::default()
        };
        let decision = self.backend.explain(request).await?;
        Ok(Answer::json(&crate::routing::as_json(&decision)))
    }

    async fn play(&self, fields: &Map<String, Value>) -> Result<CallStep, Refusal> {
        let side = side(fields)?;
        let flag = |member: &'static str| match fields.get(member) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(Refusal::Invalid { member, why: "must be true or false".to_owned() }),
        };
        let (repeat, mix) = (flag("repeat")?, flag("mix")?);
        let clip = match (fields.get("prompt"), fields.get("tone")) {
            (Some(_), None) => self.prompt(text(fields, "prompt")?).await?,
            (None, Some(Value::Object(tone))) => {
                let hertz = number(tone, "frequency", 440, 50..=7000)?;
                let length = number(tone, "duration_ms", 1000, 20..=600_000)?;
                Clip::tone(hertz as f64, Duration::from_millis(length), 0.3)
            }
            _ => {
                let why = "either prompt or tone is needed".to_owned();
                return Err(Refusal::Invalid { member: "prompt", why });
            }
        };
        Ok(CallStep::Play { side, clip: Arc::new(clip), repeat, replaces: !mix })
    }

    /// A file of the configured folder and no other.
    async fn prompt(&self, name: &str) -> Result<Clip, Refusal> {
        let invalid = |why: String| Refusal::Invalid { member: "prompt", why };
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let is_plain = name.chars().all(fits) && !name.starts_with('.');
        let folder = self.backend.prompts_folder().filter(|_| is_plain);
        let path = folder.map(|folder| folder.join(name));
        let missing = || invalid("there is no such prompt in the folder sound.prompts".to_owned());
        let path = path.ok_or_else(missing)?;
        let read = move || {
            let file = std::fs::File::open(path).ok()?;
            Some(Clip::read_wav(std::io::BufReader::new(file)))
        };
        let read = tokio::task::spawn_blocking(read).await.map_err(|_| Refusal::Internal)?;
        read.ok_or_else(missing)?.map_err(|error| invalid(error.to_string()))
    }

    /// Server-sent events. Whoever comes back says with `Last-Event-ID` what it saw last.
    fn events(
        &self,
        headers: &HeaderMap,
        query: &str,
        arrival: &Arrival,
    ) -> Result<Response, Refusal> {
        let asked = |name| query.split('&').find_map(move |pair| pair.strip_prefix(name));
        let after = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default());
        let names = asked("events=").unwrap_or_default().split(',');
        let names = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let reader = self.backend.events().read(after.or_else(|| asked("after=")), names)?;
        let patience = arrival.patience.clone();
        // Whoever signs out, or is no operator any more, is told nothing more.
        let console = identity::shown(headers, &Method::GET);
        let console = console.filter(|_| !headers.contains_key(AUTHORIZATION));
        let console = console.map(|shown| Arc::new(Shown { is_used: false, ..shown }));
        let provisioning = self.provisioning.clone();
        let pieces = futures_util::stream::unfold(reader, move |mut reader| {
            patience.renew();
            let (provisioning, console) = (provisioning.clone(), console.clone());
            async move {
                let piece = reader.piece().await;
                if let Some(console) = console
                    && !matches!(provisioning.operator_at(&console).await, Ok(Some(_)))
                {
                    return None;
                }
                Some((Ok::<_, std::convert::Infallible>(piece), reader))
            }
        });
        let headers = [
            (CONTENT_TYPE, "text/event-stream"),
            (CACHE_CONTROL, "no-store"),
            // nginx keeps answers back otherwise.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        Ok((headers, Body::from_stream(pieces)).into_response())
    }

    async fn recording(
        &self,
        day: &str,
        name: &str,
        headers: &HeaderMap,
    ) -> Result<Response, Refusal> {
        let folder = self.backend.recordings_folder().ok_or(Refusal::NotFound)?;
        let is_plain = |part: &str, dots: usize| {
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part.chars().all(fits) && part.matches('.').count() == dots
        };
        let kind = match name.rsplit_once('.') {
            Some((_, "wav")) => "audio/wav",
            Some((_, "opus")) => "audio/ogg; codecs=opus",
            _ => return Err(Refusal::NotFound),
        };
        if !is_plain(day, 0) || !is_plain(name, 1) {
            return Err(Refusal::NotFound);
        }
        let asked = headers.get(RANGE).and_then(|range| range.to_str().ok());
        let (length, part, body) = file(folder.join(day).join(name), asked).await?;
        let headers = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store"), (ACCEPT_RANGES, "bytes")];
        let Some(part) = part else {
            return Ok((headers, [(CONTENT_LENGTH, length)], body).into_response());
        };
        let (first, last) = (part.start, part.end.saturating_sub(1));
        let range = [(CONTENT_RANGE, format!("bytes {first}-{last}/{length}"))];
        let length = [(CONTENT_LENGTH, part.end - part.start)];
        Ok((StatusCode::PARTIAL_CONTENT, headers, range, length, body).into_response())
    }
}

/// A file, a piece at a time. One that still grows is given as far as it is now.
/// With how long it is in all, and the part of it that is given if one is asked for.
async fn file(
    path: PathBuf,
    asked: Option<&str>,
) -> Result<(u64, Option<Range<u64>>, Body), Refusal> {
    use std::io::{Read, Seek, SeekFrom};

    let asked = asked.map(str::to_owned);
    let open = move || -> std::io::Result<_> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        let part = asked.and_then(|asked| part_of(&asked, length));
        if let Some(part) = &part {
            file.seek(SeekFrom::Start(part.start))?;
        }
        Ok((file, length, part))
    };
    let opened = tokio::task::spawn_blocking(open).await.map_err(|_| Refusal::Internal)?;
    let (file, length, part) = opened.map_err(|_| Refusal::NotFound)?;
    let given = part.as_ref().map_or(length, |part| part.end - part.start);
    let pieces = futures_util::stream::try_unfold(file.take(given), |mut file| async {
        let read = move || {
            let mut piece = vec![0; PIECE];
            let count = file.read(&mut piece)?;
            piece.truncate(count);
            Ok((piece, file))
        };
        let outcome: std::io::Result<_> =
            tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)?;
        let (piece, file) = outcome?;
        Ok::<_, std::io::Error>((!piece.is_empty()).then_some((piece, file)))
    });
    Ok((length, part, Body::from_stream(pieces)))
}

/// One range of bytes (RFC 9110 §14.1.2). What is not understood is as if it were not there.
fn part_of(asked: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = asked.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => first..last.saturating_add(1).min(length),
        (Ok(first), Err(_)) if last.is_empty() => first..length,
        (Err(_), Ok(count)) if first.is_empty() => length.saturating_sub(count)..length,
        _ => return None,
    };
    (range.start < range.end).then_some(range)
}

fn record_step(fields: &Map<String, Value>) -> Result<RecordStep, Refusal> {
    Ok(match text(fields, "action")? {
        "start" => RecordStep::Start,
        "stop" => RecordStep::Stop,
        "pause" => RecordStep::Pause,
        "resume" => RecordStep::Resume,
        "mask" => RecordStep::Mask,
        "unmask" => RecordStep::Unmask,
        _ => {
            let why = "must be start, stop, pause, resume, mask or unmask".to_owned();
            return Err(Refusal::Invalid { member: "action", why });
        }
    })
}

fn capture_step(fields: &Map<String, Value>) -> Result<CallStep, Refusal> {
    let packets = number(fields, "packets", CAPTURED, 1..=MOST_CAPTURED)?;
    Ok(CallStep::Capture(match text(fields, "action")? {
        "start" => u32::try_from(packets).ok().and_then(NonZeroU32::new),
        "stop" => None,
        _ => {
            let why = "must be start or stop".to_owned();
            return Err(Refusal::Invalid { member: "action", why });
        }
    }))
}

fn stream(mut fields: Map<String, Value>) -> Result<StreamWish, Refusal> {
    let mode = match fields.get("mode").map(|mode| mode.as_str().unwrap_or_default()) {
        None | Some("replace") => StreamMode::Replace,
        Some("mix") => StreamMode::Mix,
        Some("listen") => StreamMode::Listen,
        Some(_) => {
            let why = "must be replace, mix or listen".to_owned();
            return Err(Refusal::Invalid { member: "mode", why });
        }
    };
    let rate = number(&fields, "rate", 16_000, 8000..=48_000)?;
    if ![8000, 16_000, 24_000, 48_000].contains(&rate) {
        let why = "must be 8000, 16000, 24000 or 48000".to_owned();
        return Err(Refusal::Invalid { member: "rate", why });
    }
    let encoding = match fields.get("encoding").map(|word| word.as_str().unwrap_or_default()) {
        None | Some("l16") => Encoding::L16,
        Some("opus") => Encoding::Opus,
        Some(_) => {
            let why = "must be l16 or opus".to_owned();
            return Err(Refusal::Invalid { member: "encoding", why });
        }
    };
    let (side, url) = (side(&fields)?, text(&fields, "url")?.to_owned());
    let metadata = fields.remove("metadata").unwrap_or_else(|| Value::Object(Map::new()));
    Ok(StreamWish { side, url, rate: rate as u32, encoding, mode, metadata })
}

fn dtmf(fields: &Map<String, Value>) -> Result<CallStep, Refusal> {
    let digits = text(fields, "digits")?;
    let is_key = |c: char| c.is_ascii_digit() || "*#ABCD".contains(c);
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.chars().all(is_key) {
        let why = format!("must be 1 to {MAX_DIGITS} of 0-9, *, #, A-D");
        return Err(Refusal::Invalid { member: "digits", why });
    }
    let duration = Duration::from_millis(number(fields, "duration_ms", 100, 40..=5000)?);
    Ok(CallStep::Dtmf { side: side(fields)?, digits: digits.to_owned(), duration })
}

/// The side that a query names; both when it names none.
fn asked_side(query: &str) -> Result<Side, Refusal> {
    let named = query.split('&').find_map(|pair| pair.strip_prefix("side="));
    named.map_or(Ok(Side::Both), side_of)
}

pub(super) fn side(fields: &Map<String, Value>) -> Result<Side, Refusal> {
    side_of(text(fields, "side")?)
}

fn side_of(word: &str) -> Result<Side, Refusal> {
    Ok(match word {
        "caller" => Side::Caller,
        "called" => Side::Called,
        "both" => Side::Both,
        _ => {
            let why = "must be caller, called or both".to_owned();
            return Err(Refusal::Invalid { member: "side", why });
        }
    })
}

pub(super) fn text<'f>(
    fields: &'f Map<String, Value>,
    member: &'static str,
) -> Result<&'f str, Refusal> {
    let found = fields.get(member).and_then(Value::as_str);
    found.ok_or_else(|| Refusal::Invalid { member, why: "must be a text".to_owned() })
}

pub(super) fn number(
    fields: &Map<String, Value>,
    member: &'static str,
    default: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, Refusal> {
    let Some(found) = fields.get(member) else { return Ok(default) };
    found.as_u64().filter(|n| range.contains(n)).ok_or_else(|| {
        let why = format!("must be from {} to {}", range.start(), range.end());
        Refusal::Invalid { member, why }
    })
}

fn audit_filter(query: &str) -> Result<AuditFilter, Refusal> {
    let limit = number_asked(query, "limit", 1000)?.unwrap_or(100);
    Ok(AuditFilter {
        before: number_asked(query, "before", i64::MAX)?,
        who: query_value(query, "who"),
        action: query_value(query, "action"),
        limit: u32::try_from(limit).unwrap_or(100),
    })
}

fn made_at(kind: &str, made: &Value) -> Response {
    let name = made["name"].as_str().unwrap_or_default();
    Answer::created(&format!("/api/v1/{kind}/{name}"), made)
}

fn number_asked(query: &str, key: &'static str, most: i64) -> Result<Option<i64>, Refusal> {
    let Some(text) = query_value(query, key) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| (0..=most).contains(number));
    let wrong = || Refusal::Invalid { member: key, why: format!("must be 0 to {most}") };
    number.map(Some).ok_or_else(wrong)
}

/// A parameter of a query, once.
fn query_value(query: &str, key: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == key).map(|(_, value)| decoded(value))
}

/// A part of a path without its escapes (RFC 3986 §2.1); one that makes no text stays.
pub(super) fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| part.to_owned())
}

const MAX_DIGITS: usize = 32;
const PIECE: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_file_is_found_within_it() {
        for (asked, expected) in [
            ("bytes=0-99", Some(0..100)),
            ("bytes=900-", Some(900..1000)),
            ("bytes=-10", Some(990..1000)),
            ("bytes=990-5000", Some(990..1000)),
            ("bytes=-5000", Some(0..1000)),
            ("bytes=1000-", None),
            ("bytes=5-4", None),
            ("bytes=0-1,5-6", None),
            ("bytes=-", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(part_of(asked, 1000), expected, "{asked}");
        }
    }

    #[test]
    fn escapes_in_paths_are_read() {
        for (part, expected) in
            [("abc", "abc"), ("a%2Fb", "a/b"), ("%41%", "A%"), ("%4", "%4"), ("%ff", "%ff")]
        {
            assert_eq!(decoded(part), expected);
        }
    }
}
