//! `[sound]`: what is played to parties.

use std::path::{Path, PathBuf};

use super::reader::Section;
use super::{Music, Sound};

pub(super) fn read(section: Option<&Section<'_>>, folder: &Path) -> Sound {
    let prompts = section.and_then(|s| s.string("prompts"));
    let prompts = prompts.map(|name| folder.join(name.value));
    let music = section.and_then(|s| Some((s, s.string("music_on_hold")?)));
    let music_on_hold = match &music {
        None => Music::Tones,
        Some((_, name)) if name.value == "tones" => Music::Tones,
        Some((_, name)) if name.value == "off" => Music::Off,
        Some((section, name)) => {
            let path = folder.join(&name.value);
            if !is_wav(&path) {
                let message = format!("{} is no WAV file that can be read", path.display());
                let remedy = "write \"tones\", \"off\" or the path of a WAV file";
                section.document().complain_about(name, message, remedy);
            }
            Music::File(path)
        }
    };
    Sound { prompts, music_on_hold }
}

fn is_wav(path: &PathBuf) -> bool {
    let file = std::fs::File::open(path);
    file.is_ok_and(|file| {
        crosspoint_media::clip::Clip::read_wav(std::io::BufReader::new(file)).is_ok()
    })
}
