//! Conversations in memory, with a clock that moves when nobody has anything to do.

use std::sync::Mutex;

use crosspoint_base::LegId;
use crosspoint_media::codec::samples;
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::super::dial::Io;
use super::*;

/// A conversation that runs, and the service's end of it.
struct Story {
    service: WebSocketStream<DuplexStream>,
    packets: mpsc::Sender<(usize, Tapped)>,
    texts: mpsc::Sender<String>,
    stop: watch::Sender<bool>,
    queues: [Arc<SoundQueue>; 2],
    digits: Arc<Mutex<Vec<(usize, String)>>>,
    overrun: Arc<AtomicU64>,
    over: tokio::task::JoinHandle<&'static str>,
}

impl Story {
    async fn begin(encoding: Encoding, rate: u32, room: usize) -> Self {
        let (ours, theirs) = tokio::io::duplex(room);
        let socket =
            WebSocketStream::from_raw_socket(Box::new(ours) as Box<dyn Io>, Role::Client, None);
        let socket = socket.await;
        let service = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
        let ((packets, packets_out), (texts, texts_out)) = (mpsc::channel(100), mpsc::channel(8));
        let (stop, stopping) = watch::channel(false);
        let queues = [(); 2].map(|()| Arc::new(SoundQueue::new()));
        let request = StreamRequest {
            url: String::new(),
            token: None,
            hello: "{}".to_owned(),
            rate,
            encoding,
            queues: queues.clone().map(Some),
        };
        let (digits, overrun) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
        let (told_of, counted) = (digits.clone(), overrun.clone());
        let over = tokio::spawn(async move {
            let inputs = Inputs { packets: packets_out, texts: texts_out, stopping };
            let told = |side, keys| {
                told_of.lock().unwrap().push((side, keys));
                async {}
            };
            talk(socket, request, inputs, told, &counted).await
        });
        Self { service, packets, texts, stop, queues, digits, overrun, over }
    }

    async fn say(&mut self, value: Value) {
        self.service.send(Message::text(value.to_string())).await.unwrap();
    }

    async fn sound(&mut self, side: u8, sound: &[u8]) {
        let message = [&[side, 0, 0, 0], sound].concat();
        self.service.send(Message::binary(message)).await.unwrap();
    }

    /// Why it is over. The clock runs ahead, so that this takes no time.
    async fn ended(&mut self) -> &'static str {
        let over = tokio::time::timeout(Duration::from_secs(60), &mut self.over).await;
        over.expect("it is over").unwrap()
    }

    /// The next message that is no sound.
    async fn told(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.service.next().await.unwrap().unwrap() {
                return serde_json::from_str(text.as_str()).unwrap();
            }
        }
    }

    async fn heard(&mut self) -> Vec<u8> {
        loop {
            if let Message::Binary(bytes) = self.service.next().await.unwrap().unwrap() {
                return bytes.to_vec();
            }
        }
    }
}

/// A tone at half of full scale.
fn tone(hertz: f64, rate: u32, length: Duration) -> Vec<i16> {
    let at = |n: usize| (std::f64::consts::TAU * hertz * n as f64 / f64::from(rate)).sin();
    (0..samples(rate, length)).map(|n| (16_000.0 * at(n)) as i16).collect()
}

/// How much of a sound's energy is at `hertz`, from 0 to 1 (Goertzel).
fn share(pcm: &[i16], hertz: f64, rate: u32) -> f64 {
    let step = 2.0 * (std::f64::consts::TAU * hertz / f64::from(rate)).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in pcm {
        (last, before) = (f64::from(*sample) + step * last - before, last);
    }
    let power = last * last + before * before - step * last * before;
    let energy: f64 = pcm.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
    2.0 * power / (pcm.len() as f64 * energy.max(f64::MIN_POSITIVE))
}

fn bytes(pcm: &[i16]) -> Vec<u8> {
    pcm.iter().flat_map(|s| s.to_le_bytes()).collect()
}

fn packet(seq: u16, pcm: &[i16]) -> Tapped {
    let mut payload = Vec::new();
    Encoder::new(Codec::Pcmu, 8000).encode(pcm, &mut payload);
    let timestamp = 160 * u32::from(seq);
    let (leg, codec, at) = (LegId(1), Codec::Pcmu, Instant::now());
    Tapped { leg, at, ssrc: 1, seq, timestamp, codec, payload }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_mark_comes_when_it_was_played_and_a_clear_brings_it_at_once() {
    let mut story = Story::begin(Encoding::L16, 16_000, 1 << 20).await;
    assert_eq!(story.told().await, json!({}));
    let second = bytes(&tone(700.0, 16_000, SECOND));
    story.sound(1, &second).await;
    story.say(json!({ "event": "mark", "name": "one", "side": "called" })).await;
    story.sound(1, &second).await;
    story.say(json!({ "event": "mark", "name": "two", "side": "called" })).await;
    let mut played = Vec::new();
    // A dozen ticks, and nothing is told because nothing is played.
    let early = tokio::time::timeout(Duration::from_millis(250), story.told()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(story.queues[1].pull(15_999, &mut played), 15_999);
    let early = tokio::time::timeout(Duration::from_millis(250), story.told()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(story.queues[1].pull(1, &mut played), 1);
    assert!(share(&played, 700.0, 16_000) > 0.99);
    assert_eq!(story.told().await, json!({ "event": "mark", "side": "called", "name": "one" }));
    story.say(json!({ "event": "clear", "side": "caller" })).await;
    let early = tokio::time::timeout(Duration::from_millis(250), story.told()).await;
    assert!(early.is_err(), "it was the other side's: {early:?}");
    story.say(json!({ "event": "clear" })).await;
    assert_eq!(story.told().await, json!({ "event": "mark", "side": "called", "name": "two" }));
    assert_eq!(story.queues[1].pull(16_000, &mut played), 0, "nobody hears the rest");
    story.texts.send("{\"event\":\"dtmf\"}".to_owned()).await.unwrap();
    assert_eq!(story.told().await["event"], "dtmf");
    story.stop.send(true).unwrap();
    assert_eq!(story.told().await, json!({ "event": "stop", "reason": "stopped" }));
    assert_eq!(story.ended().await, "stopped");
}

#[tokio::test(start_paused = true)]
async fn digits_go_to_the_side_that_is_named() {
    let mut story = Story::begin(Encoding::L16, 8000, 1 << 16).await;
    for event in [
        json!({ "event": "dtmf", "side": "called", "digits": "12#x\u{0}9" }),
        json!({ "event": "dtmf", "digits": "5" }),
        json!({ "event": "dtmf", "side": "somebody", "digits": "5" }),
        json!({ "event": "dtmf", "side": "caller", "digits": 7 }),
        json!({ "event": "dtmf", "side": "caller", "digits": "1".repeat(1000) }),
        json!({ "event": "unheard of", "side": "caller" }),
        json!([]),
        json!({ "event": "stop" }),
    ] {
        story.say(event).await;
    }
    assert_eq!(story.ended().await, "by_service");
    let told = story.digits.lock().unwrap().clone();
    assert_eq!(told, [(1, "12#9".to_owned()), (0, "1".repeat(32))]);
}

#[tokio::test(start_paused = true)]
async fn more_than_half_a_minute_ahead_is_lost_and_counted() {
    let mut story = Story::begin(Encoding::L16, 16_000, 1 << 20).await;
    for _ in 0..40 {
        story.sound(0, &bytes(&tone(500.0, 16_000, SECOND))).await;
    }
    for n in 0..1000 {
        story.say(json!({ "event": "mark", "name": n.to_string() })).await;
    }
    story.say(json!({ "event": "clear" })).await;
    let mut marks = 0;
    while let Ok(told) = tokio::time::timeout(SECOND, story.told()).await {
        marks += usize::from(told["event"] == "mark" && told["side"] == "caller");
    }
    assert_eq!(marks, MAX_MARKS);
    let lost = story.overrun.load(Ordering::Relaxed);
    assert!((7000..8000).contains(&lost), "{lost} ms of 40 s, of which 32.8 s fit");
}

/// Three seconds are granted; packets that come meanwhile find their queue full.
#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_read_loses_its_stream() {
    let mut story = Story::begin(Encoding::L16, 16_000, 2000).await;
    let began = tokio::time::Instant::now();
    let mut lost = 0;
    for n in 0..1000 {
        let frame = tone(1000.0, 8000, FRAME);
        lost += usize::from(story.packets.try_send((0, packet(n, &frame))).is_err());
        tokio::time::sleep(FRAME).await;
        if story.over.is_finished() {
            break;
        }
    }
    assert_eq!(story.ended().await, "unread");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert!(lost > 20, "{lost}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_sound_ends_the_stream() {
    for (encoding, message) in [
        (Encoding::L16, &b"\0\0\0\0abc"[..]),
        (Encoding::L16, b"\x02\0\0\0ab"),
        (Encoding::L16, b"\0\0\0"),
        (Encoding::Opus, b"\0\0\0\0"),
        // A code 3 packet that says it has more frames than there are bytes.
        (Encoding::Opus, b"\0\0\0\0\xff\xff\xff"),
    ] {
        let mut story = Story::begin(encoding, 16_000, 1 << 16).await;
        story.service.send(Message::binary(message.to_vec())).await.unwrap();
        assert_eq!(story.ended().await, "malformed", "{message:?}");
    }
    let mut story = Story::begin(Encoding::L16, 16_000, 1 << 16).await;
    story.service.send(Message::text("{")).await.unwrap();
    assert_eq!(story.ended().await, "malformed");
    let mut story = Story::begin(Encoding::L16, 16_000, 1 << 16).await;
    let (other, _) = tokio::io::duplex(1);
    story.service = WebSocketStream::from_raw_socket(other, Role::Server, None).await;
    assert_eq!(story.ended().await, "lost");
}

#[tokio::test(start_paused = true)]
async fn opus_carries_sound_both_ways() {
    for rate in [8000, 16_000, 24_000, 48_000] {
        let mut story = Story::begin(Encoding::Opus, rate, 1 << 20).await;
        let said = tone(1000.0, 8000, 2 * SECOND);
        let (mut decoder, mut heard) = (Decoder::new(Codec::Opus, 16_000), Vec::new());
        for (n, frame) in said.chunks_exact(160).enumerate() {
            story.packets.send((1, packet(n as u16, frame))).await.unwrap();
            let message = story.heard().await;
            assert_eq!((message[0], message[1]), (1, 0));
            assert_eq!(u16::from_le_bytes([message[2], message[3]]), n as u16);
            assert!(message.len() < 4 + 320, "it is compressed: {}", message.len());
            decoder.decode(&message[4..], &mut heard);
        }
        assert_eq!(heard.len(), 32_000, "20 ms in each message");
        let clear = share(&heard[16_000..], 1000.0, 16_000);
        assert!(clear > 0.9, "{rate}: {clear}");

        let (mut encoder, mut coded) = (Encoder::new(Codec::Opus, 48_000), Vec::new());
        for frame in tone(600.0, 48_000, SECOND).chunks_exact(960) {
            encoder.encode(frame, &mut coded);
            story.sound(0, &coded).await;
        }
        story.say(json!({ "event": "stop" })).await;
        assert_eq!(story.ended().await, "by_service");
        let mut played = Vec::new();
        assert_eq!(story.queues[0].pull(20_000, &mut played), 16_000);
        assert!(share(&played[4000..], 600.0, 16_000) > 0.9);
    }
}
