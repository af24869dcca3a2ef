//! Sound laid over what a leg hears: prompts, music while it is held, what services say.

use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::LegId;
use crosspoint_media::clip::{Clip, SoundQueue};
use crosspoint_media::codec::{Codec, Decoder};
use crosspoint_media::control::{Command, Laid, LaidSound, Layer};

use crate::sound::{Heard, assert_continuous, share};
use crate::story::{BROWSER_TONE, PHONE_TONE};
use crate::world::{BROWSER, PHONE, Setup, World};

fn tone(hertz: f64, seconds: u64) -> Arc<Clip> {
    Arc::new(Clip::tone(hertz, Duration::from_secs(seconds), 0.3))
}

fn lay(world: &mut World, leg: LegId, layer: Layer, sound: LaidSound, replaces: bool) {
    let laid = Some(Laid { sound, replaces });
    world.command(Command::Overlay { leg, layer, laid });
}

/// What share each tenth of a second has of a frequency.
fn shares(heard: &[Heard], codec: Codec, hertz: f64) -> Vec<f64> {
    let mut decoder = Decoder::new(codec, 8000);
    let mut pcm = Vec::new();
    for packet in heard {
        decoder.decode(&packet.payload, &mut pcm);
    }
    pcm.chunks_exact(800).map(|part| share(part, hertz)).collect()
}

fn middle(shares: &[f64]) -> f64 {
    let mut sorted = shares.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// A prompt takes the place of the other's voice, and only at the leg it is for; then packets
/// pass as before.
#[test]
fn a_prompt_is_heard_by_its_leg_alone_and_then_the_call_goes_on() {
    let mut world = World::in_call();
    world.phone().heard.clear();
    world.browser().heard.clear();
    let sound = LaidSound::Clip { clip: tone(700.0, 1), repeat: false };
    lay(&mut world, PHONE, Layer::Prompt, sound, true);
    world.run(Duration::from_millis(950));
    let heard = world.phone().heard.clone();
    let of_prompt = shares(&heard, Codec::Pcmu, 700.0);
    assert!(middle(&of_prompt) > 0.95, "{of_prompt:?}");
    let other = middle(&shares(&world.browser().heard.clone(), Codec::Pcmu, PHONE_TONE));
    assert!(other > 0.95, "the browser hears the phone: {other}");
    world.run(Duration::from_millis(200));
    let before = world.counters();
    world.phone().heard.clear();
    world.run(Duration::from_secs(1));
    let after = world.counters();
    assert_eq!(after.packets_transcoded, before.packets_transcoded, "packets pass again");
    assert!(after.packets_forwarded >= before.packets_forwarded + 95);
    let heard = world.phone().heard.clone();
    assert_continuous(&heard, 160);
    assert!(middle(&shares(&heard, Codec::Pcmu, BROWSER_TONE)) > 0.95);
    world.close();
}

/// A notice is heard together with the other's voice, in the same codec and in another.
#[test]
fn a_notice_is_mixed_with_the_voice() {
    for codec in [Codec::Pcmu, Codec::Opus] {
        let mut world = World::with_peers(Setup::default(), codec);
        world.browser_calls(|offer| offer);
        world.talk(codec);
        let sound = LaidSound::Clip { clip: tone(1800.0, 2), repeat: false };
        lay(&mut world, PHONE, Layer::Notice, sound, false);
        world.run(Duration::from_millis(500));
        world.phone().heard.clear();
        world.run(Duration::from_secs(1));
        let heard = world.phone().heard.clone();
        let voice = middle(&shares(&heard, Codec::Pcmu, BROWSER_TONE));
        let notice = middle(&shares(&heard, Codec::Pcmu, 1800.0));
        assert!(voice > 0.2 && notice > 0.2, "{codec}: {voice} {notice}");
        assert!(voice + notice > 0.9, "{codec}: {voice} {notice}");
        world.close();
    }
}

/// Who is recorded is told so again and again; the call goes on behind it.
#[test]
fn a_notice_that_comes_again_is_heard_each_time_by_both() {
    let mut world = World::in_call();
    let clip = Arc::new(Clip::tone(1400.0, Duration::from_millis(250), 0.15));
    world.phone().heard.clear();
    world.browser().heard.clear();
    for _ in 0..3 {
        for leg in [BROWSER, PHONE] {
            let sound = LaidSound::Clip { clip: clip.clone(), repeat: false };
            lay(&mut world, leg, Layer::Notice, sound, false);
        }
        world.run(Duration::from_secs(15));
    }
    for (ear, heard, voice) in [
        ("phone", world.phone().heard.clone(), BROWSER_TONE),
        ("browser", world.browser().heard.clone(), PHONE_TONE),
    ] {
        let notice = shares(&heard, Codec::Pcmu, 1400.0);
        let told: Vec<usize> = (0..notice.len()).filter(|n| notice[*n] > 0.02).collect();
        // Two or three tenths each, every fifteen seconds.
        let times: Vec<usize> = told.chunk_by(|a, b| a + 1 == *b).map(|part| part[0]).collect();
        let [first, second, third] = times[..] else { panic!("{ear}: {told:?}") };
        assert!(first <= 1 && second.abs_diff(150) <= 2 && third.abs_diff(300) <= 2, "{times:?}");
        assert!((6..=9).contains(&told.len()), "{ear}: {told:?}");
        let voice = shares(&heard, Codec::Pcmu, voice);
        let between = (0..voice.len()).filter(|n| !told.contains(n) && voice[*n] < 0.9).count();
        assert!(between <= 3, "{ear}: the voice is missing in {between} parts");
        assert!(voice.len() >= 445, "{ear}: {} parts", voice.len());
    }
    world.close();
}

/// Who holds the other is not kept waiting in silence, and the music ends with the hold.
#[test]
fn who_is_held_hears_music() {
    for codec in [Codec::Pcmu, Codec::Opus] {
        let mut world = World::with_peers(Setup::default(), codec);
        world.shard.set_music(Some(tone(600.0, 3)));
        world.browser_calls(|offer| offer);
        world.talk(codec);
        world.phone_wants(2, "a=sendonly");
        world.run(Duration::from_millis(300));
        world.browser().heard.clear();
        // Longer than the piece: it comes round.
        world.run(Duration::from_secs(5));
        let heard = world.browser().heard.clone();
        let music = shares(&heard, codec, 600.0);
        assert!(middle(&music) > 0.9, "{codec}: {music:?}");
        world.phone_wants(3, "a=sendrecv");
        world.run(Duration::from_millis(500));
        world.browser().heard.clear();
        world.run(Duration::from_secs(1));
        let heard = world.browser().heard.clone();
        let voice = shares(&heard, codec, PHONE_TONE);
        // A coder takes a second to get used to a pure tone.
        assert!(middle(&voice) > 0.6, "{codec}: {voice:?}");
        world.close();
    }
}

/// A service talks, is interrupted, and is silent: the leg hears what there is of it.
#[test]
fn a_service_is_heard_as_far_as_it_speaks() {
    let mut world = World::in_call();
    let queue = Arc::new(SoundQueue::new());
    lay(&mut world, PHONE, Layer::Stream, LaidSound::Live(queue.clone()), true);
    world.run(Duration::from_millis(300));
    world.phone().heard.clear();
    queue.push(tone(900.0, 5).at(16_000));
    world.run(Duration::from_secs(1));
    let heard = world.phone().heard.clone();
    assert_continuous(&heard, 160);
    assert!(middle(&shares(&heard, Codec::Pcmu, 900.0)) > 0.95);
    queue.clear();
    world.run(Duration::from_millis(100));
    world.phone().heard.clear();
    world.run(Duration::from_secs(1));
    let heard = world.phone().heard.clone();
    assert!(heard.len() > 45, "silence is sent as well");
    assert!(heard.iter().all(|p| p.payload.iter().all(|b| *b == 0xff)), "all of it is silent");
    world.command(Command::Overlay { leg: PHONE, layer: Layer::Stream, laid: None });
    world.run(Duration::from_millis(200));
    world.phone().heard.clear();
    world.run(Duration::from_secs(1));
    let heard = world.phone().heard.clone();
    assert!(middle(&shares(&heard, Codec::Pcmu, BROWSER_TONE)) > 0.95);
    world.close();
}
