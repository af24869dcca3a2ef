//! Recording through the binary: by the operators' interface, by rule, and over a kill.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::events::Events;
use crate::gateway::{Gateway, PATIENCE};
use crate::http::{Answer, request};
use crate::phone::Phone;
use crate::rest::{self, Login};
use crate::sound::{Sound, media_address, share_of};

const TOKEN: &str = "a-token-of-thirty-two-characters";

fn start(config: &str) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admin.token"), TOKEN).unwrap();
    Gateway::start_with(folder, &format!("[admin]\ntoken_file = \"admin.token\"\n{config}"))
}

fn with_token(token: &str) -> Login {
    Login(format!("Authorization: Bearer {token}"))
}

fn ask(gateway: &Gateway, path: &str) -> Answer {
    rest::get(gateway, &with_token(TOKEN), path)
}

fn record(gateway: &Gateway, gcid: &str, action: &str) -> Answer {
    let line = format!("POST /api/v1/calls/{gcid}/recording");
    rest::call(gateway, &with_token(TOKEN), &line, &json!({ "action": action }))
}

fn alice(gateway: &Gateway) -> Phone {
    let user = &gateway.ready()["users"][0];
    Phone::new(gateway.address("udp"), "alice", user["password"].as_str().unwrap())
}

/// The left and the right channel.
fn sides(file: &Path) -> [Vec<i16>; 2] {
    let reader = hound::WavReader::open(file).unwrap();
    assert_eq!((reader.spec().channels, reader.spec().sample_rate), (2, 16_000));
    let samples: Vec<i16> = reader.into_samples().map_while(Result::ok).collect();
    [0, 1].map(|side| samples.iter().skip(side).step_by(2).copied().collect())
}

/// The same sound at the 8 kHz that the measure works at.
fn share(side: &[i16], frequency: f64) -> f64 {
    let narrow: Vec<f64> = side.iter().step_by(2).map(|s| f64::from(*s)).collect();
    share_of(&narrow, frequency)
}

fn only_wav(folder: &Path) -> std::path::PathBuf {
    let days = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let files = days.filter(|path| path.is_dir()).flat_map(|day| std::fs::read_dir(day).unwrap());
    let files = files.flatten().map(|entry| entry.path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "wav")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn without_a_token_in_the_configuration_calls_are_nobodys_business() {
    let gateway = Gateway::start("");
    for who in [with_token(""), with_token(TOKEN), rest::user(&gateway, "alice")] {
        for path in ["/api/v1/calls", "/api/v1/calls/x", "/api/v1/recordings/a/b.wav"] {
            let answer = rest::get(&gateway, &who, path);
            assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("closed")));
        }
    }
}

#[test]
fn only_the_operators_token_opens_the_calls() {
    let gateway = start("[recording]\n");
    let paths = [
        "GET /api/v1/calls",
        "GET /api/v1/records",
        "GET /api/v1/route?from=alice&to=600",
        "GET /api/v1/recordings",
        "POST /api/v1/calls/x/recording",
    ];
    for path in paths {
        let bare = request(gateway.address("http"), path, &[], b"");
        assert_eq!(bare.status, 401, "{path}");
        let user = rest::call(&gateway, &rest::user(&gateway, "alice"), path, &Value::Null);
        assert_eq!(user.status, 401, "a user of ours: {path}");
    }
    assert_eq!(ask(&gateway, "/api/v1/calls").json(), json!({ "items": [], "total": 0 }));
    assert_eq!(ask(&gateway, "/api/v1/calls/none").status, 404);
    assert_eq!(record(&gateway, "none", "start").status, 404);
    assert_eq!(record(&gateway, "none", "begin").status, 422);
    // What is beside the recordings cannot be had.
    std::fs::write(gateway.folder().join("secret.wav"), "secret").unwrap();
    std::fs::create_dir_all(gateway.folder().join("crosspoint-data/recordings/day")).unwrap();
    for name in [
        "../../secret.wav",
        "day/..%2F..%2F..%2Fsecret.wav",
        "..%2F../secret.wav",
        "%2e%2e/secret.wav",
        "day/index.jsonl",
    ] {
        let answer = ask(&gateway, &format!("/api/v1/recordings/{name}"));
        assert_eq!(answer.status, 404, "{name}");
    }
    for _ in 0..10 {
        let wrong = with_token("a-token-of-thirty-two-charactery");
        assert_eq!(rest::get(&gateway, &wrong, "/api/v1/calls").status, 401);
    }
    assert_eq!(ask(&gateway, "/api/v1/calls").status, 429, "nobody may guess for ever");
}

#[test]
fn an_operator_records_a_call() {
    let gateway = start("[recording]\n");
    let mut alice = alice(&gateway);
    let mut sound = Sound::new();
    let (answered, mut call) = alice.call("600", &sound.description());
    assert_eq!(answered.status.0, 200);
    let far = media_address(&answered.body);

    let calls = ask(&gateway, "/api/v1/calls").json();
    assert_eq!(calls["total"], 1, "{calls}");
    let shown = &calls["items"][0];
    assert_eq!((&shown["from_user"], &shown["to"]), (&json!("alice"), &json!("600")));
    assert_eq!((&shown["state"], &shown["recording"]), (&json!("active"), &Value::Null));
    assert_eq!(shown["legs"][0]["side"], "caller");
    let gcid = shown["gcid"].as_str().unwrap().to_owned();

    assert_eq!(record(&gateway, &gcid, "pause").status, 409, "it is not recorded yet");
    sound.talk(far, 700.0, Duration::from_millis(300));
    let begun = record(&gateway, &gcid, "start").json();
    assert_eq!(begun["state"], "running");
    assert_eq!(record(&gateway, &gcid, "start").status, 409, "it is recorded already");
    talk_steadily(&mut sound, far, 1000.0, Duration::from_millis(1500));
    assert_eq!(record(&gateway, &gcid, "mask").json()["state"], "masked");
    sound.talk(far, 1300.0, Duration::from_millis(700));
    assert_eq!(record(&gateway, &gcid, "pause").json()["state"], "paused");
    sound.talk(far, 1600.0, Duration::from_millis(700));
    assert_eq!(record(&gateway, &gcid, "resume").json()["state"], "running");
    talk_steadily(&mut sound, far, 1900.0, Duration::from_millis(1000));
    assert_eq!(record(&gateway, &gcid, "stop").json()["state"], "stopped");
    sound.talk(far, 700.0, Duration::from_millis(300));
    assert_eq!(alice.hang_up(&mut call).status.0, 200);

    let name = begun["name"].as_str().unwrap().to_owned();
    let began = Instant::now();
    let finished = loop {
        let list = ask(&gateway, "/api/v1/recordings").json();
        if list["total"] == 1 {
            break list["items"][0].clone();
        }
        assert!(began.elapsed() < PATIENCE, "it is never finished");
    };
    assert_eq!((&finished["gcid"], &finished["reason"]), (&json!(gcid), &json!("stopped")));
    assert_eq!(finished["name"], name.as_str());
    let file = gateway.folder().join("crosspoint-data/recordings").join(&name);
    let [left, right] = sides(&file);
    assert!(right.iter().all(|s| *s == 0), "nobody was called");
    let is_heard = |hz: f64| left.chunks_exact(3200).any(|part| share(part, hz) > 0.8);
    assert!(is_heard(1000.0) && is_heard(1900.0), "what was said while it ran");
    for other in [700.0, 1300.0, 1600.0] {
        assert!(!is_heard(other), "{other} Hz was not to be recorded");
    }
    assert!(left.chunks_exact(4800).any(|part| part.iter().all(|s| *s == 0)), "the mask");
    let bytes = std::fs::metadata(&file).unwrap().len();
    let download = ask(&gateway, &format!("/api/v1/recordings/{name}"));
    assert_eq!(download.status, 200);
    assert_eq!(download.header("content-type"), Some("audio/wav"));
    assert_eq!(download.header("content-length"), Some(bytes.to_string().as_str()));
    let metrics = gateway.get("/metrics").1;
    assert!(metrics.contains("crosspoint_recordings_total{outcome=\"finished\"} 1"));

    let (_, folder) = gateway.stop();
    let gateway = Gateway::start_in(folder);
    assert_eq!(gateway.command(&["cdr", "list"])[0]["recordings"], json!([name]));
    assert_eq!(ask(&gateway, "/api/v1/recordings").json()["total"], 1, "the list stays");
}

/// What comes more than a second late is not recorded, so nothing may stand still for that long.
fn talk_steadily(sound: &mut Sound, to: SocketAddr, hertz: f64, length: Duration) {
    let began = Instant::now();
    loop {
        sound.talk(to, hertz, length);
        if sound.was_steady() {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "the machine stands still all the time");
    }
}

/// Power is cut, or somebody kills the process: what was said is there, to a second or two.
#[test]
fn a_rule_records_the_call_and_a_kill_leaves_what_was_said() {
    let gateway = start("[recording]\nusers = [\"alice\"]\n");
    let mut alice = alice(&gateway);
    let mut sound = Sound::new();
    let (answered, _call) = alice.call("600", &sound.description());
    sound.talk(media_address(&answered.body), 1000.0, Duration::from_millis(4500));
    gateway.signal("-KILL");
    let (_, folder) = gateway.wait();
    let [left, _] = sides(&only_wav(&folder.path().join("crosspoint-data/recordings")));
    assert!(left.len() > 2 * 16_000, "{} samples of 72 000", left.len());
    // On a busy machine packets are late, and their places move a little at first.
    let parts = || left[4000..].chunks_exact(800);
    let clear = parts().filter(|part| share(part, 1000.0) > 0.8).count();
    assert!(clear * 10 > parts().count() * 7, "{clear} of {}", parts().count());

    // Whoever starts next lists it, and whoever reads events is told.
    let gateway = Gateway::start_in(folder);
    let list = ask(&gateway, "/api/v1/recordings").json();
    let found = &list["items"][0];
    assert_eq!((&list["total"], &found["reason"]), (&json!(1), &json!("crashed")));
    assert_eq!(found["duration_ms"].as_u64().unwrap(), left.len() as u64 / 16);
    assert!(found["started_at"].as_u64().unwrap() > 1_700_000_000_000);
    assert!(!found["gcid"].as_str().unwrap().is_empty());
    let mut events = Events::open(&gateway, &with_token(TOKEN), "?after=0-0");
    assert_eq!(events.next(), json!({ "event": "hello", "version": 1 }));
    let told = events.next();
    assert_eq!((&told["event"], &told["name"]), (&json!("recording_finished"), &found["name"]));
    // The operator removes it, once.
    let path = format!("/api/v1/recordings/{}", found["name"].as_str().unwrap());
    assert_eq!(ask(&gateway, &path).status, 200);
    assert_eq!(
        rest::delete(&gateway, &with_token("a-token-of-thirty-two-charactery"), &path).status,
        401
    );
    assert_eq!(rest::delete(&gateway, &with_token(TOKEN), &path).status, 200);
    assert_eq!(events.next()["reason"], "deleted");
    assert_eq!(ask(&gateway, &path).status, 404);
    assert_eq!(rest::delete(&gateway, &with_token(TOKEN), &path).status, 404);
    assert_eq!(ask(&gateway, "/api/v1/recordings").json()["total"], 0);
}

#[test]
fn a_full_disk_refuses_recordings_and_not_calls() {
    let gateway = start("[recording]\nall = true\nmin_free_mb = 999999999\n");
    let mut alice = alice(&gateway);
    let mut sound = Sound::new();
    let (answered, mut call) = alice.call("600", &sound.description());
    let heard = sound.talk(media_address(&answered.body), 1000.0, Duration::from_millis(1000));
    assert!(share_of(&heard[heard.len() / 2..], 1000.0) > 0.9, "the call goes on");
    let calls = ask(&gateway, "/api/v1/calls").json();
    let refused = record(&gateway, calls["items"][0]["gcid"].as_str().unwrap(), "start");
    assert_eq!(refused.status, 409);
    let why = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(why.contains("bytes are free"), "{why}");
    assert_eq!(alice.hang_up(&mut call).status.0, 200);
}

fn play(gateway: &Gateway, gcid: &str, what: &Value) -> Answer {
    let line = format!("POST /api/v1/calls/{gcid}/play");
    rest::call(gateway, &with_token(TOKEN), &line, what)
}

#[test]
fn an_operator_plays_prompts_of_the_folder_and_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admin.token"), TOKEN).unwrap();
    std::fs::create_dir(folder.path().join("prompts")).unwrap();
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    for name in ["prompts/welcome.wav", "secret.wav"] {
        let mut file = hound::WavWriter::create(folder.path().join(name), spec).unwrap();
        for n in 0..16_000_u32 {
            let angle = std::f64::consts::TAU * 700.0 * f64::from(n) / 8000.0;
            file.write_sample((10_000.0 * angle.sin()) as i16).unwrap();
        }
        file.finalize().unwrap();
    }
    let config = "[admin]\ntoken_file = \"admin.token\"\n[sound]\nprompts = \"prompts\"\n";
    let gateway = Gateway::start_with(folder, config);
    let mut alice = alice(&gateway);
    let mut sound = Sound::new();
    let (answered, mut call) = alice.call("600", &sound.description());
    let far = media_address(&answered.body);
    let calls = ask(&gateway, "/api/v1/calls").json();
    let gcid = calls["items"][0]["gcid"].as_str().unwrap().to_owned();

    for prompt in ["../secret.wav", "/etc/passwd", "..", "none.wav", "prompts/../../secret.wav"] {
        let refused = play(&gateway, &gcid, &json!({ "side": "caller", "prompt": prompt }));
        assert_eq!(refused.status, 422, "{prompt}");
    }
    assert_eq!(play(&gateway, &gcid, &json!({ "side": "caller" })).status, 422);
    let prompt = json!({ "side": "caller", "prompt": "welcome.wav" });
    assert_eq!(play(&gateway, &gcid, &prompt).json()["duration_ms"], 2000);
    let clearest = |heard: &[f64], hz: f64| {
        heard.chunks_exact(800).map(|part| share_of(part, hz)).fold(0.0, f64::max)
    };
    let heard = sound.talk(far, 1000.0, Duration::from_millis(1000));
    assert!(clearest(&heard, 700.0) > 0.9, "the prompt is heard instead of the echo");
    let tone = json!({ "side": "both", "tone": { "frequency": 1300, "duration_ms": 60_000 } });
    assert_eq!(play(&gateway, &gcid, &tone).status, 200);
    let heard = sound.talk(far, 1000.0, Duration::from_millis(700));
    assert!(clearest(&heard, 1300.0) > 0.9, "the tone takes the prompt's place");
    let quiet = format!("/api/v1/calls/{gcid}/play?side=caller");
    assert_eq!(rest::delete(&gateway, &with_token(TOKEN), &quiet).status, 200);
    let heard = sound.talk(far, 1000.0, Duration::from_millis(1000));
    assert!(clearest(&heard, 1000.0) > 0.9, "the echo is back");
    assert_eq!(alice.hang_up(&mut call).status.0, 200);
}

/// An operator sees why a call was refused, and asks the running gateway the same question.
#[test]
fn an_operator_reads_why_a_call_was_refused() {
    let gateway = start("");
    let mut alice = alice(&gateway);
    let (refused, _) = alice.call("nobody", &Sound::new().description());
    assert_eq!(refused.status.0, 404);
    let path = "/api/v1/records?refused=true&party=alice";
    // It is written when the media of the call is closed.
    let began = Instant::now();
    let records = loop {
        let records = ask(&gateway, path).json();
        if records["items"][0].is_object() {
            break records;
        }
        assert!(began.elapsed() < PATIENCE, "there is no record");
    };
    let record = &records["items"][0];
    assert_eq!((&record["refusal"], &record["to"]), (&json!("no_route"), &json!("nobody")));
    let now = ask(&gateway, "/api/v1/route?from=1001&to=nobody").json();
    assert_eq!((&now["why"], &now["ok"]), (&record["why"], &json!(false)));
    assert_eq!(
        ask(&gateway, "/api/v1/route?from=alice&to=bob").json()["outcome"]["cause"],
        "unavailable"
    );
    assert_eq!(ask(&gateway, "/api/v1/route?from=eve&to=bob").status, 404);
    assert_eq!(ask(&gateway, "/api/v1/route?from=alice").status, 422);
    assert_eq!(ask(&gateway, "/api/v1/records?limit=x").status, 422);
    assert_eq!(ask(&gateway, "/api/v1/records?refused=true&gcid=none").json()["items"], json!([]));
}
